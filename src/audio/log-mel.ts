// A log-mel spectrogram: how much of each band of pitch a waveform has, frame by frame.
import { LfmError } from '../tensor/error.ts';

export interface LogMelOptions {
  readonly rate: number;
  /** Samples of a frame, which is also how far apart frames are. */
  readonly frame: number;
  readonly bands: number;
}

const melOf = (hertz: number) => 2595 * Math.log10(1 + hertz / 700);
const hertzOf = (mel: number) => 700 * (10 ** (mel / 2595) - 1);

/**
 * Frames [samples / frame, bands], row-major: the logarithm of a Hann-windowed frame's power in triangular bands, evenly
 * spaced in mels (O'Shaughnessy 1987) from 0 to half the rate. Errors: `indivisible`.
 */
export function logMel(samples: Float32Array, { rate, frame, bands }: LogMelOptions): Float32Array {
  if (samples.length % frame !== 0)
    throw new LfmError('indivisible', `${samples.length} samples are not a whole number of frames of ${frame}.`);
  const bins = frame / 2 + 1;
  const edges = Array.from(
    { length: bands + 2 },
    (_, i) => (hertzOf((melOf(rate / 2) * i) / (bands + 1)) * frame) / rate,
  );
  const filters = Array.from({ length: bands }, (_, band) => {
    const [low = 0, middle = 0, high = 0] = edges.slice(band, band + 3);
    return Float64Array.from({ length: bins }, (_value, bin) =>
      Math.max(0, Math.min((bin - low) / (middle - low), (high - bin) / (high - middle))),
    );
  });
  const angles = Float64Array.from({ length: frame }, (_, i) => (2 * Math.PI * i) / frame);
  const [cosines, sines] = [angles.map(Math.cos), angles.map(Math.sin)];
  const count = samples.length / frame;
  const out = new Float32Array(count * bands);
  for (let at = 0; at < count; at++) {
    const windowed = Float64Array.from(
      { length: frame },
      (_, i) => (samples[at * frame + i] ?? 0) * (0.5 - 0.5 * (cosines[i] ?? 0)),
    );
    const power = Float64Array.from({ length: bins }, (_, bin) => {
      let [real, imaginary] = [0, 0];
      windowed.forEach((value, i) => {
        real += value * (cosines[(bin * i) % frame] ?? 0);
        imaginary += value * (sines[(bin * i) % frame] ?? 0);
      });
      return real * real + imaginary * imaginary;
    });
    filters.forEach((filter, band) => {
      out[at * bands + band] = Math.log(1e-6 + filter.reduce((sum, share, bin) => sum + share * (power[bin] ?? 0), 0));
    });
  }
  return out;
}
