// Pictures as SVG text: elements, and a page that is readable on white and on black. Sizes are in pixels of the picture.

export interface SvgElement {
  readonly tag: string;
  readonly attributes: Readonly<Record<string, string | number>>;
  readonly children: readonly (SvgElement | string)[];
}

export function element(
  tag: string,
  attributes: SvgElement['attributes'],
  children: SvgElement['children'] = [],
): SvgElement {
  return { tag, attributes, children };
}

/** Words at (x, y), the baseline of their first letter unless `anchor` says otherwise. */
export function words(
  text: string,
  x: number,
  y: number,
  attributes: SvgElement['attributes'] & { readonly anchor?: 'start' | 'middle' | 'end' } = {},
): SvgElement {
  const { anchor = 'start', ...rest } = attributes;
  return element('text', { x, y, 'text-anchor': anchor, class: 'ink', ...rest }, [text]);
}

export interface Page {
  readonly width: number;
  readonly height: number;
  /** What the picture shows, for those who cannot see it. */
  readonly title: string;
  readonly children: readonly SvgElement[];
}

/** Of each class the colours on white and on black. */
const styles = `
text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
.small { font-size: 10px; }
.strong { font-weight: 600; }
.paper { fill: #ffffff; }
.ink { fill: #1b1d21; }
.faint { fill: #5f6670; }
.rule { stroke: #d9dce1; fill: none; }
.line { stroke: #5f6670; fill: none; }
.empty { fill: #f3f4f6; }
.on { fill: #ffffff; font-weight: 600; }
@media (prefers-color-scheme: dark) {
.paper { fill: #14161a; }
.ink { fill: #eceef1; }
.faint { fill: #a3abb6; }
.rule { stroke: #343a43; }
.line { stroke: #a3abb6; }
.empty { fill: #20242a; }
}
`;

/** The picture as a file of its own. */
export function svgPage({ width, height, title, children }: Page): string {
  return `${render(
    element(
      'svg',
      { xmlns: 'http://www.w3.org/2000/svg', width, height, viewBox: `0 0 ${width} ${height}`, role: 'img' },
      [
        element('title', {}, [title]),
        element('style', {}, [styles]),
        element('rect', { class: 'paper', width, height }),
        ...children,
      ],
    ),
  )}\n`;
}

function render({ tag, attributes, children }: SvgElement): string {
  const written = Object.entries(attributes).map(([name, value]) => ` ${name}="${escaped(format(value))}"`);
  const inside = children.map((child) => (typeof child === 'string' ? escaped(child) : render(child))).join('');
  return `<${tag}${written.join('')}${inside === '' ? '/>' : `>${inside}</${tag}>`}`;
}

/** Hundredths of a pixel are enough. */
function format(value: string | number): string {
  return typeof value === 'number' ? String(Math.round(value * 100) / 100) : value;
}

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' };

function escaped(text: string): string {
  return text.replaceAll(/[&<>"]/g, (character) => entities[character] ?? character);
}

/** Colours that can be told apart on white and on black, also by most who see few of them (after Okabe and Ito). */
export const palette = [
  '#1f7fc1',
  '#d55e00',
  '#009e73',
  '#b6529a',
  '#a07800',
  '#3a8fd0',
  '#7a5cc7',
  '#6b7280',
  '#c2185b',
  '#4b8b3b',
] as const;

export function colourOf(index: number): string {
  return palette[index % palette.length] ?? palette[0];
}
