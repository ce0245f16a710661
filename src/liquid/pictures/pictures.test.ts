// The pictures as files: well formed, every model and operator named, nothing outside the page.
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { classifications } from '../classification.ts';
import {
  attention,
  defineModel,
  depthGroup,
  layer,
  modelFromGenome,
  parseGenome,
  shared,
  shortConv,
  swiglu,
} from '../index.ts';
import { layerStack } from './layer-stack.ts';
import { formatLength, memoryCurves } from './memory-curves.ts';
import { operatorMap } from './operator-map.ts';
import { element, svgPage, words } from './svg.ts';

/** Tags that close in order, and the words between them. */
function parse(svg: string): { words: string[]; tags: string[] } {
  const open: string[] = [];
  const tags: string[] = [];
  const found: string[] = [];
  for (const [, close, tag = '', rest = '', text = ''] of svg.matchAll(/<(\/?)([a-z]+)([^<>]*)>([^<]*)/g)) {
    if (close) expect(open.pop()).toBe(tag);
    else {
      tags.push(tag);
      if (!rest.endsWith('/')) open.push(tag);
    }
    if (text.trim() && tag === 'text' && !close) found.push(text);
  }
  expect(open).toEqual([]);
  return { words: found, tags };
}

const numbers = (svg: string, tag: string, attribute: string) =>
  [...svg.matchAll(new RegExp(`<${tag} [^>]*\\b${attribute}="(-?[\\d.]+)"`, 'g'))].map(([, value]) => Number(value));

describe('svgPage', () => {
  it('escapes what comes from outside and keeps numbers short', () => {
    const svg = svgPage({
      width: 10,
      height: 10,
      title: '<script>"a" & b',
      children: [words('x < y', 1 / 3, 2, { anchor: 'middle' }), element('path', { d: 'M0 0' })],
    });
    expect(svg).toContain('<title>&lt;script&gt;&quot;a&quot; &amp; b</title>');
    expect(svg).toContain('x="0.33"');
    expect(parse(svg).words).toEqual(['x &lt; y']);
    expect(svg).toContain('prefers-color-scheme: dark');
  });
});

describe('memoryCurves', () => {
  const GiB = 2 ** 30;
  const curves = ['a', 'b', 'c'].map((name, index) => ({
    name,
    contextLength: 4096,
    points: [1024, 4096, 16_384].map((length) => ({ length, bytes: GiB * (3 + index / 1000 + length / 16_384) })),
  }));

  it('names each curve at its end, none over another', () => {
    const svg = memoryCurves(curves);
    const { words: said } = parse(svg);
    expect(said).toEqual(expect.arrayContaining(['a', 'b', 'c', '1k', '4k', '16k', 'GiB']));
    const heights = [...svg.matchAll(/y="([\d.]+)"[^>]*class="strong"/g)]
      .map(([, y]) => Number(y))
      .toSorted((a, b) => a - b);
    expect(heights).toHaveLength(3);
    for (const [index, height] of heights.slice(1).entries())
      expect(height - (heights[index] ?? 0)).toBeGreaterThanOrEqual(12);
  });

  it('stands higher for more memory, and is dotted where a model was not made for the length', () => {
    const svg = memoryCurves(curves.slice(0, 1));
    const heights = numbers(svg, 'circle', 'cy');
    expect(heights).toHaveLength(2);
    expect(heights[1]).toBeLessThan(heights[0] ?? 0);
    expect(svg.match(/stroke-dasharray/g)).toHaveLength(1);
    expect(memoryCurves([{ name: 'one', contextLength: 8, points: [{ length: 8, bytes: 0 }] }])).not.toContain('NaN');
  });

  it('writes lengths as people do', () => {
    expect([512, 1024, 3072, 128_000, 131_072, 3000].map(formatLength)).toEqual([
      '512',
      '1k',
      '3k',
      '128000',
      '128k',
      '3000',
    ]);
  });
});

describe('operatorMap', () => {
  const folder = new URL('../', import.meta.url);

  it('has a place for every operator that is declared', () => {
    const declared = readdirSync(folder)
      .filter((file) => /^[\w-]+\.ts$/.test(file))
      .flatMap((file) => [...readFileSync(new URL(file, folder), 'utf8').matchAll(/[^`.]operator\(\s*'(\w+)'/g)])
      .map(([, name]) => name ?? '');
    expect(declared.length).toBeGreaterThanOrEqual(3);
    expect(Object.keys(classifications).toSorted()).toEqual(declared.toSorted());
  });

  it('fills the operators of a model, all without one', () => {
    const mlp = swiglu({ intermediateSize: 8 });
    const model = defineModel({ vocabSize: 8, hiddenSize: 8, layers: [layer(shortConv(), mlp)] });
    const filled = (svg: string) => [...svg.matchAll(/class="on">(\w+)</g)].map(([, name]) => name ?? '').toSorted();
    expect(filled(operatorMap(model))).toEqual(['short_conv', 'swiglu']);
    expect(filled(operatorMap())).toEqual(Object.keys(classifications).toSorted());
    const more = defineModel({ vocabSize: 8, hiddenSize: 8, layers: [layer(attention({ heads: 2 }), mlp)] });
    expect(filled(operatorMap(more))).toEqual(['attention', 'swiglu']);
    const made = modelFromGenome(parseGenome('31111-91111'), { vocabSize: 8, hiddenSize: 16, headDim: 4 });
    const drawn = operatorMap(made);
    expect([...drawn.matchAll(/class="on">([\w-]+)</g)].map(([, name]) => name)).toEqual(['GMemless', 'SA-3']);
    expect(parse(drawn).words).toContain('repeat 4');
  });
});

describe('layerStack', () => {
  const mlp = swiglu({ intermediateSize: 8 });
  const [conv, attend] = [layer(shortConv(), mlp), layer(attention({ heads: 2 }), mlp)];
  const model = defineModel({ vocabSize: 8, hiddenSize: 8, layers: [conv, attend, conv, attend] });

  it('draws two boxes a layer and says how many there are of each operator', () => {
    const svg = layerStack('mine', model);
    const { words: said, tags } = parse(svg);
    // The page, two boxes for each of four layers, and three in the legend.
    expect(tags.filter((tag) => tag === 'rect')).toHaveLength(1 + 8 + 3);
    expect(said).toEqual(expect.arrayContaining(['mine', 'short_conv x 2', 'attention x 2', 'swiglu x 4']));
    expect(svg).not.toMatch(/depth group|NaN|undefined/);
  });

  it('draws groups that share weights below, in lanes that do not cross, and features that are taken above', () => {
    const taking = layer(shared(attention({ heads: 2 }), { features: { group: 'kv', names: ['k', 'v'] } }), mlp);
    const [even, odd] = [depthGroup('even', conv), depthGroup('odd', taking)];
    const svg = layerStack('mine', defineModel({ vocabSize: 8, hiddenSize: 8, layers: [even, odd, even, odd] }));
    // A dot for each depth of a group, and two in the legend.
    const heights = numbers(svg, 'circle', 'cy');
    expect(heights).toHaveLength(4 + 2);
    expect(heights[0]).toBe(heights[1]);
    expect(heights[2]).toBeGreaterThan(heights[1] ?? 0);
    expect(parse(svg).words.join()).toMatch(/depth group.*featurizer interconnection/);
    const [, from, to] = /d="M([\d.]+) [\d.]+C\S+ \S+ \S+ \S+ ([\d.]+) /.exec(svg) ?? [];
    expect(Number(to)).toBeGreaterThan(Number(from));
    const height = Number(/ height="(\d+)"/.exec(svg)?.[1]);
    for (const tag of ['circle', 'rect'])
      for (const y of numbers(svg, tag, tag === 'rect' ? 'y' : 'cy')) expect(y).toBeLessThan(height);
  });
});
