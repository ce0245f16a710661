// Which language a text is in: by its script where one language has it alone, else by letters and by the commonest words.
// Enough to tell the languages apart that instructions ask for; a text of a few words may be taken for another's.

/** Scripts of one language, as ISO 639-1 names it. */
const scripts: readonly (readonly [string, RegExp])[] = [
  ['kn', /\p{Script=Kannada}/gu],
  ['pa', /\p{Script=Gurmukhi}/gu],
  ['gu', /\p{Script=Gujarati}/gu],
  ['te', /\p{Script=Telugu}/gu],
  ['ta', /\p{Script=Tamil}/gu],
  ['ml', /\p{Script=Malayalam}/gu],
  ['bn', /\p{Script=Bengali}/gu],
  ['th', /\p{Script=Thai}/gu],
  ['ko', /\p{Script=Hangul}/gu],
  ['ja', /[\p{Script=Hiragana}\p{Script=Katakana}]/gu],
  ['zh', /\p{Script=Han}/gu],
  ['el', /\p{Script=Greek}/gu],
  ['he', /\p{Script=Hebrew}/gu],
  ['devanagari', /\p{Script=Devanagari}/gu],
  ['arabic', /\p{Script=Arabic}/gu],
  ['cyrillic', /\p{Script=Cyrillic}/gu],
  ['latin', /\p{Script=Latin}/gu],
];

/** The commonest words of languages that share a script, those left out that mean something in a neighbour too often. */
const words: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  devanagari: {
    hi: 'है हैं के में का की और को से पर यह एक नहीं लिए भी कि तो था थी थे हो आप करने किया वह हम जो कर ने अपने साथ या इस',
    mr: 'आहे आहेत आणि च्या मध्ये हे ही तो ती आपण नाही करा होते होता साठी त्या त्यांच्या या एक पण तर मी आम्ही केले केली असे असा आपल्या',
    ne: 'छ छन् हो हुन् र को मा लागि पनि यो त्यो गर्न गरेको भएको थियो हुन्छ गर्छ तपाईं हामी तर वा एक भने गरी बाट सँग',
  },
  latin: {
    en: 'the of and to in is that for it was as with be on at by this are or from an not have you which we they but his her their has will can my your if there would what all when who',
    de: 'der die das und ist nicht ein eine zu den von mit für auf dem im sich als auch es wird sind an werden aus bei ich wir sie nach oder wie einen über kann wenn haben',
    fr: 'le la les et des est un une du dans que qui pour pas sur au avec ce plus par sont il elle nous vous je ne se cette mais ou être ont leur aux fait',
    es: 'el la los las y de que en es un una por con para no se del al lo su como más pero sus o este esta ser son muy también hay sobre todo nos',
    pt: 'o os as e de que em é um uma por com para não se do da dos das no na ao mais como mas foi são ou seu sua também você ser muito pelo pela',
    it: 'il lo la gli e di che è un una per con non si del della dei delle nel nella sono come più ma anche questo questa al alla ha da le i essere molto',
    nl: 'de het een en van is dat op te in voor met niet zijn aan er ook als bij door maar om uit naar of dan was worden wordt hebben deze je wij',
    fi: 'ja on ei se että oli hän mutta ovat kun niin tai jos myös sen joka mitä ole kuin voi tämä minä sinä hänen heidän sekä vain mukaan jotka olla',
    sv: 'och att det är en som på av för den till med inte om ett har de kan jag vi du men från eller så när vara också där hon han sig',
    sw: 'na ya wa kwa ni katika za la kama hii hiyo yake watu sana lakini au kuwa cha huo hizo yangu wao mimi sisi kila wakati ili pia moja kutoka baada',
    id: 'yang dan di untuk dengan ini itu dari tidak pada adalah dalam ke akan kami anda saya juga atau dapat bisa ada oleh karena lebih mereka kita sebagai',
    vi: 'và là của có không được cho một người những các trong này với để tôi bạn đã như khi từ đến rất cũng chúng ta về sẽ nhiều hay',
    tr: 've bir bu için ile da de çok ne gibi daha olarak ama var ben sen biz olan en kadar sonra her değil mi ya veya onun',
    pl: 'i w nie na się jest do to z że jak o ale po co od za jego przez czy dla są tym które może tak być oraz już był',
  },
};

/** A text's language as ISO 639-1 names it, or undefined for one without letters. */
export function languageOf(text: string): string | undefined {
  const lower = text.toLowerCase();
  const counts = scripts.map(([name, letters]) => [name, lower.match(letters)?.length ?? 0] as const);
  const [script, most] = counts.reduce((best, one) => (one[1] > best[1] ? one : best), ['', 0] as const);
  if (most === 0) return undefined;
  const has = (letters: RegExp) => (lower.match(letters)?.length ?? 0) / most;
  // Japanese text is mostly Han too.
  if (script === 'zh') return (counts.find(([name]) => name === 'ja')?.[1] ?? 0) * 10 > most ? 'ja' : 'zh';
  if (script === 'cyrillic') {
    if (has(/[іїєґ]/g) > 0.005) return 'uk';
    // Bulgarian has no ы, э and ё, and ъ in every other word.
    return has(/[ыэё]/g) < 0.002 && has(/ъ/g) > 0.005 ? 'bg' : 'ru';
  }
  if (script === 'arabic') {
    if (has(/[ٹڈڑںےھہ]/g) > 0.02) return 'ur';
    return has(/[پچژگکی]/g) > 0.02 ? 'fa' : 'ar';
  }
  const table = words[script];
  return table ? likeliest(lower, table) : script;
}

/** The language with most of the text's words among its own; where none has any, the table's first. */
function likeliest(text: string, table: Readonly<Record<string, string>>): string | undefined {
  const found = text.match(/[\p{L}\p{M}]+/gu) ?? [];
  const scores = Object.entries(table).map(([language, list]) => {
    const common = new Set(list.split(' '));
    return [language, found.filter((word) => common.has(word)).length] as const;
  });
  return scores.reduce((best, one) => (one[1] > best[1] ? one : best))[0];
}
