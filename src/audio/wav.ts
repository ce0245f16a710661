// WAV files of 16-bit PCM, one channel: samples between -1 and 1.
import { LfmError } from '../tensor/error.ts';

export interface Waveform {
  /** Samples a second. */
  readonly rate: number;
  readonly samples: Float32Array;
}

/** Errors: `bad-file` for what is no RIFF file, is cut short, or holds other samples than 16-bit PCM of one channel. */
export function parseWav(bytes: Uint8Array): Waveform {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (at: number) => String.fromCharCode(...bytes.subarray(at, at + 4));
  if (bytes.length < 12 || word(0) !== 'RIFF' || word(8) !== 'WAVE')
    throw new LfmError('bad-file', 'Expected a WAV file, which begins with RIFF and WAVE.');
  let rate: number | undefined;
  for (let at = 12; at + 8 <= bytes.length;) {
    const [name, size] = [word(at), view.getUint32(at + 4, true)];
    const start = at + 8;
    if (start + size > bytes.length)
      throw new LfmError('bad-file', `The WAV file's part "${name}" of ${size} bytes is cut short.`);
    if (name === 'fmt ' && size >= 16) {
      const [format, channels, bits] = [0, 2, 14].map((offset) => view.getUint16(start + offset, true));
      if (format !== 1 || channels !== 1 || bits !== 16)
        throw new LfmError(
          'bad-file',
          `Expected 16-bit PCM (format 1) of one channel; found format ${format}, ${channels} channels, ${bits} bits.`,
        );
      rate = view.getUint32(start + 4, true);
    }
    if (name === 'data' && rate !== undefined) {
      const samples = Float32Array.from(
        { length: Math.floor(size / 2) },
        (_, i) => view.getInt16(start + 2 * i, true) / 32_768,
      );
      return { rate, samples };
    }
    at = start + size + (size % 2);
  }
  throw new LfmError('bad-file', 'The WAV file has no "fmt " part with a "data" part after it.');
}
