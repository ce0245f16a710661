// Devices by what their makers say of them, for estimates: dense arithmetic in bfloat16 (a CPU's in float32), memory.
import type { Device } from './accounting.ts';

const gigabyte = 1e9;

export const devices: Readonly<Record<string, Device>> = {
  // NVIDIA's data sheets: H100 SXM, A100 80 GB SXM.
  h100: { flops: 989e12, bandwidth: 3350 * gigabyte, memory: 80 * gigabyte },
  a100: { flops: 312e12, bandwidth: 2039 * gigabyte, memory: 80 * gigabyte },
  // NVIDIA's Ada architecture paper, with float32 sums.
  'rtx-4090': { flops: 165.2e12, bandwidth: 1008 * gigabyte, memory: 24 * gigabyte },
  // Four Cortex-A76 of two 128-bit pipes at 2.4 GHz; 32 bits of LPDDR4X-4267.
  'raspberry-pi-5': { flops: 153.6e9, bandwidth: 17.1 * gigabyte, memory: 8 * gigabyte },
};
