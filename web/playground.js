// The playground: a conversation with a model of this server, kept in this browser. Model output is only ever set as text.

const $ = (id) => document.getElementById(id);
const STORE = 'lfm-conversations';

/** {id, title, messages: [{role, content, tokens?}]}, the newest first. */
let conversations = read();
let current = conversations[0] ?? fresh();
let models = [];
let running;

function fresh() {
  return { id: crypto.randomUUID(), title: 'New conversation', messages: [] };
}

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(STORE) ?? '[]');
    return Array.isArray(found) ? found.filter(isConversation) : [];
  } catch {
    return [];
  }
}

function isConversation(value) {
  return (
    typeof value?.id === 'string' &&
    typeof value.title === 'string' &&
    Array.isArray(value.messages) &&
    value.messages.every(({ role, content }) => ['user', 'assistant'].includes(role) && typeof content === 'string')
  );
}

function save() {
  if (current.messages.length > 0) conversations = [current, ...conversations.filter(({ id }) => id !== current.id)];
  try {
    localStorage.setItem(STORE, JSON.stringify(conversations.slice(0, 100)));
  } catch {
    say('This browser keeps no more conversations: delete some.', true);
  }
  $('history').replaceChildren(...[current, ...conversations.filter(({ id }) => id !== current.id)].map(option));
}

function option({ id, title }) {
  return Object.assign(document.createElement('option'), { value: id, textContent: title, selected: id === current.id });
}

function say(text, isError = false) {
  $('status').textContent = text;
  $('status').className = isError ? 'error' : '';
}

function headers() {
  const key = $('key').value || sessionStorage.getItem('lfm-key') || '';
  return { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) };
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** Each token with its probability and the likeliest others, where they are known; else the text. */
function body({ content, tokens }) {
  if (!tokens?.length || !$('probabilities').checked) return [content];
  const percent = (logprob) => `${(100 * Math.exp(logprob)).toFixed(1)}%`;
  return tokens.map(({ token, logprob, top_logprobs: top = [] }) => {
    const others = top.map((other) => `${JSON.stringify(other.token)} ${percent(other.logprob)}`).join('\n');
    return element('span', { textContent: token, title: `${percent(logprob)}\n\n${others}` });
  });
}

function draw() {
  $('messages').replaceChildren(
    ...current.messages.map((message, index) => {
      const edit = element('button', { type: 'button', textContent: 'Edit', onclick: () => rewrite(index) });
      const title = element('h2', {}, message.role === 'user' ? 'You' : (model()?.id ?? 'Model'));
      if (message.role === 'user') title.append(edit);
      return element('article', { className: message.role }, title, element('p', {}, ...body(message)));
    }),
  );
  const idle = running === undefined;
  $('send').disabled = !idle;
  $('stop').disabled = idle;
  $('again').disabled = !idle || current.messages.at(-1)?.role !== 'assistant';
}

/** Takes a message and what came after it back into the text box. */
function rewrite(index) {
  if (running) return;
  $('text').value = current.messages[index].content;
  current.messages.length = index;
  save();
  draw();
  $('text').focus();
}

function model() {
  return models.find(({ id }) => id === $('model').value);
}

function request() {
  const number = (id) => ($(id).value === '' ? undefined : Number($(id).value));
  const common = {
    model: $('model').value,
    temperature: number('temperature'),
    top_p: number('topP'),
    max_tokens: number('maxTokens'),
    seed: number('seed'),
    stream: true,
    stream_options: { include_usage: true },
  };
  const messages = current.messages.slice(0, -1).map(({ role, content }) => ({ role, content }));
  if (model()?.chats === false) return ['/v1/completions', { ...common, prompt: messages.map(({ content }) => content).join('') }];
  const system = $('system').value ? [{ role: 'system', content: $('system').value }] : [];
  const shown = $('probabilities').checked ? { logprobs: true, top_logprobs: 5 } : {};
  return ['/v1/chat/completions', { ...common, ...shown, messages: [...system, ...messages] }];
}

/** The data of each server-sent event. */
async function* events(stream) {
  let rest = '';
  for await (const piece of stream.pipeThrough(new TextDecoderStream())) {
    const lines = `${rest}${piece}`.split('\n\n');
    rest = lines.pop();
    for (const line of lines) if (line.startsWith('data: ')) yield line.slice(6);
  }
}

const isAtEnd = () => innerHeight + scrollY > document.documentElement.scrollHeight - 160;
const toEnd = () => scrollTo(0, document.documentElement.scrollHeight);

async function answer() {
  const reply = { role: 'assistant', content: '', tokens: [] };
  current.messages.push(reply);
  running = new AbortController();
  draw();
  toEnd();
  const shown = $('messages').lastElementChild.querySelector('p');
  try {
    const [path, asked] = request();
    const response = await fetch(path, { method: 'POST', headers: headers(), body: JSON.stringify(asked), signal: running.signal });
    if (!response.ok) throw new Error((await response.json().catch(() => ({}))).error?.message ?? `Status ${response.status}`);
    say('…');
    for await (const data of events(response.body)) {
      if (data === '[DONE]') break;
      const { error, choices = [], usage, timings } = JSON.parse(data);
      if (error) throw new Error(error.message);
      const [choice] = choices;
      const text = choice?.delta?.content ?? choice?.text ?? '';
      reply.content += text;
      reply.tokens.push(...(choice?.logprobs?.content ?? []));
      const follows = isAtEnd();
      if (text) shown.append(text);
      if (usage) {
        const room = model()?.context_length;
        const speed = timings ? `, ${timings.predicted_per_second.toFixed(1)} tokens/s` : '';
        say(`${usage.completion_tokens} tokens${speed}; ${usage.total_tokens}${room ? ` of ${room}` : ''} tokens of context`);
      }
      if (follows) toEnd();
    }
  } catch (error) {
    if (running.signal.aborted) say('Stopped.');
    else say(error.message, true);
    if (reply.content === '') current.messages.pop();
  } finally {
    running = undefined;
    const follows = isAtEnd();
    save();
    draw();
    if (follows) toEnd();
    $('text').focus({ preventScroll: true });
  }
}

$('form').addEventListener('submit', (event) => {
  event.preventDefault();
  const content = $('text').value;
  if (running || content.trim() === '') return;
  if (current.messages.length === 0) current.title = content.slice(0, 40);
  current.messages.push({ role: 'user', content });
  $('text').value = '';
  void answer();
});
$('text').addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $('form').requestSubmit();
});
$('stop').addEventListener('click', () => running?.abort());
$('again').addEventListener('click', () => {
  current.messages.pop();
  void answer();
});
$('new').addEventListener('click', () => {
  if (running) return;
  current = fresh();
  save();
  draw();
});
$('remove').addEventListener('click', () => {
  if (running) return;
  conversations = conversations.filter(({ id }) => id !== current.id);
  current = conversations[0] ?? fresh();
  save();
  draw();
});
$('history').addEventListener('change', () => {
  if (running) return;
  current = conversations.find(({ id }) => id === $('history').value) ?? current;
  draw();
});
$('probabilities').addEventListener('change', draw);
$('key').addEventListener('change', () => {
  sessionStorage.setItem('lfm-key', $('key').value);
  void start();
});
$('export').addEventListener('click', () => {
  const url = URL.createObjectURL(new Blob([JSON.stringify(conversations, undefined, 2)], { type: 'application/json' }));
  element('a', { href: url, download: 'conversations.json' }).click();
  URL.revokeObjectURL(url);
});
$('import').addEventListener('change', async ({ target }) => {
  try {
    const found = JSON.parse(await target.files[0].text());
    if (!Array.isArray(found) || !found.every(isConversation)) throw new Error('expected conversations as Export writes them');
    conversations = [...found, ...conversations.filter(({ id }) => !found.some((other) => other.id === id))];
    current = conversations[0] ?? current;
    save();
    draw();
  } catch (error) {
    say(`The file was not read: ${error.message}.`, true);
  }
});

async function start() {
  try {
    const response = await fetch('/v1/models', { headers: headers() });
    const { data, error } = await response.json();
    if (error) throw new Error(response.status === 401 ? 'This server asks for its API key: see Settings.' : error.message);
    models = data;
    $('model').replaceChildren(...models.map(({ id }) => element('option', { value: id, textContent: id })));
    const base = model()?.chats === false ? ' It continues texts; it was not taught to answer.' : '';
    say(`${model()?.id ?? 'No model'}${model()?.loaded ? '' : ' is loading.'}${base}`);
    if (!model()?.loaded) setTimeout(start, 1000);
  } catch (error) {
    say(error.message, true);
  }
}
save();
draw();
void start();
