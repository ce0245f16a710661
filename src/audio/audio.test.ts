// Waveforms: what a WAV file may hold, and that a tone lies in its own band.
import { describe, expect, it } from 'vitest';
import { logMel } from './log-mel.ts';
import { parseWav } from './wav.ts';

function wav(samples: readonly number[], { channels = 1, bits = 16, extra = true } = {}): Uint8Array {
  const bytes = new Uint8Array(44 + (extra ? 10 : 0) + 2 * samples.length);
  const view = new DataView(bytes.buffer);
  let at = 0;
  const word = (text: string) => [...text].forEach((letter) => (bytes[at++] = letter.charCodeAt(0)));
  const number = (value: number, size: 2 | 4) => {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  };
  word('RIFF');
  number(bytes.length - 8, 4);
  word('WAVE');
  word('fmt ');
  number(16, 4);
  for (const [value, size] of [
    [1, 2],
    [channels, 2],
    [8000, 4],
    [16_000, 4],
    [2, 2],
    [bits, 2],
  ] as const)
    number(value, size);
  if (extra) {
    word('LIST');
    number(1, 4);
    at += 2; // one byte, and one that makes it even
  }
  word('data');
  number(2 * samples.length, 4);
  samples.forEach((sample) => {
    view.setInt16(at, sample, true);
    at += 2;
  });
  return bytes;
}

describe('parseWav', () => {
  it('reads the samples, past parts that it does not know', () => {
    const found = parseWav(wav([0, 16_384, -32_768]));
    expect(found).toEqual({ rate: 8000, samples: Float32Array.of(0, 0.5, -1) });
  });

  it('refuses what it cannot read, saying what it found', () => {
    expect(() => parseWav(new Uint8Array(8))).toThrow(/RIFF/);
    expect(() => parseWav(wav([1, 2]).subarray(0, -1))).toThrow(/"data" part of 4 bytes|"data".*cut short/);
    expect(() => parseWav(wav([1], { channels: 2 }))).toThrow(/2 channels/);
    expect(() => parseWav(wav([1], { bits: 8 }))).toThrow(/8 bits/);
    expect(() => parseWav(wav([]).subarray(0, 40))).toThrow(/no "fmt " part with a "data" part|cut short/);
  });
});

describe('logMel', () => {
  const options = { rate: 8000, frame: 128, bands: 16 };
  const tone = (hertz: number) =>
    Float32Array.from({ length: 256 }, (_, i) => Math.sin((2 * Math.PI * hertz * i) / 8000));
  const loudest = (hertz: number) => {
    const frames = logMel(tone(hertz), options);
    expect(frames).toHaveLength(32);
    return frames.subarray(16).indexOf(Math.max(...frames.subarray(16)));
  };

  it('puts higher tones into higher bands, where the mel scale says', () => {
    const found = [300, 700, 1500, 3000].map(loudest);
    // 2146 mels over 17 steps: tones of 402, 781, 1291 and 1876 mels are nearest to these bands' middles.
    expect(found).toEqual([402, 781, 1291, 1876].map((mel) => Math.round(mel / (2146 / 17)) - 1));
  });

  it('grows by ln 100 where the sound is ten times as loud, and knows silence', () => {
    const loud = logMel(
      tone(700).map((value) => 10 * value),
      options,
    );
    const plain = logMel(tone(700), options);
    const at = plain.indexOf(Math.max(...plain));
    expect((loud[at] ?? 0) - (plain[at] ?? 0)).toBeCloseTo(Math.log(100), 4);
    expect(logMel(new Float32Array(128), options)[3]).toBeCloseTo(Math.log(1e-6), 5);
    expect(() => logMel(new Float32Array(100), options)).toThrow(/100 samples/);
  });
});
