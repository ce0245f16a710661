// CUDA's libraries for an XLA plug-in. The plug-in opens them by bare name, and LD_LIBRARY_PATH is read only when a
// process starts; so they are opened here first, by path, and the plug-in then finds them already there.
import { readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { exists } from '../../host/exists.node.ts';
import { LfmError } from '../../tensor/error.ts';
import { openLibrary } from './library.node.ts';
import { pythonPackageFolders } from './python.node.ts';

export type CudaMajor = 12 | 13;

/** Each before what needs it. Without the optional ones single-device programs still run. */
const libraries: Readonly<Record<CudaMajor, readonly { readonly name: string; readonly optional?: true }[]>> = {
  12: [
    { name: 'libcudart.so.12' },
    { name: 'libnvJitLink.so.12' },
    { name: 'libnvrtc.so.12', optional: true },
    { name: 'libcublasLt.so.12' },
    { name: 'libcublas.so.12' },
    { name: 'libcusparse.so.12' },
    { name: 'libcusolver.so.11' },
    { name: 'libcufft.so.11' },
    { name: 'libcupti.so.12', optional: true },
    { name: 'libcudnn.so.9' },
    { name: 'libnccl.so.2', optional: true },
    { name: 'libnvshmem_host.so.3', optional: true },
  ],
  13: [
    { name: 'libcudart.so.13' },
    { name: 'libnvJitLink.so.13' },
    { name: 'libnvrtc.so.13', optional: true },
    { name: 'libcublasLt.so.13' },
    { name: 'libcublas.so.13' },
    { name: 'libcusparse.so.12' },
    { name: 'libcusolver.so.12' },
    { name: 'libcufft.so.12' },
    { name: 'libcupti.so.13', optional: true },
    { name: 'libcudnn.so.9' },
    { name: 'libnccl.so.2', optional: true },
    { name: 'libnvshmem_host.so.3', optional: true },
  ],
};

/** What was opened, and what optional library was not there. */
export interface CudaLibraries {
  readonly opened: readonly string[];
  readonly absent: readonly string[];
  /** Folder with nvvm/libdevice, for XLA's `xla_gpu_cuda_data_dir`. */
  readonly dataFolder?: string;
}

/** The CUDA version that a plug-in needs, told by its path; undefined for other platforms' plug-ins. */
export function cudaMajorOf(pluginPath: string): CudaMajor | undefined {
  const match = /cuda[-_]?(1[23])/i.exec(pluginPath);
  if (match) return match[1] === '12' ? 12 : 13;
  return /cuda|gpu/i.test(pluginPath) ? 13 : undefined;
}

/**
 * Opens the driver's and CUDA's libraries: those of Python packages first (the `nvidia` folder beside the plug-in or in
 * python3's package folders), then the toolkit's, then those of the system's search path.
 * @throws LfmError `gpu-driver-missing`, `cuda-libraries-missing`
 */
export async function preloadCuda(pluginPath: string, major: CudaMajor, signal?: AbortSignal): Promise<CudaLibraries> {
  if (openLibrary('libcuda.so.1', { global: true })) {
    throw new LfmError(
      'gpu-driver-missing',
      'No NVIDIA driver (libcuda.so.1): install it, or use `lfm engines install xla-cpu`.',
    );
  }
  const roots = [dirname(dirname(dirname(pluginPath))), ...(await pythonPackageFolders(signal))];
  const packages = (await Promise.all([...new Set(roots)].map(nvidiaPackages))).flat();
  const toolkit = [process.env['CUDA_HOME'], process.env['CUDA_PATH'], '/usr/local/cuda'].filter(
    (path) => path !== undefined,
  );
  const folders = [...packages.map((path) => join(path, 'lib')), ...toolkit.map((path) => join(path, 'lib64'))];
  const opened: string[] = [];
  const absent: string[] = [];
  const missing: string[] = [];
  for (const { name, optional } of libraries[major]) {
    const candidates = [...folders.map((folder) => join(folder, name)), name];
    let path: string | undefined;
    for (const candidate of candidates) {
      if (candidate !== name && !(await exists(candidate))) continue;
      if (openLibrary(candidate, { global: true })) continue;
      path = candidate;
      break;
    }
    if (path) opened.push(path);
    else (optional ? absent : missing).push(name);
  }
  if (missing.length > 0) {
    throw new LfmError(
      'cuda-libraries-missing',
      `CUDA ${major} libraries not found: ${missing.join(', ')}. Install them with ` +
        `\`python3 -m pip install "jax-cuda${major}-plugin[with-cuda]"\`, or set LD_LIBRARY_PATH to where they are.`,
    );
  }
  for (const folder of [...packages, ...toolkit]) {
    if (await exists(join(folder, 'nvvm', 'libdevice'))) return { opened, absent, dataFolder: folder };
  }
  return { opened, absent };
}

/** The folders of nvidia-* wheels: `nvidia/cudnn`, `nvidia/cu13` and so on. */
async function nvidiaPackages(root: string): Promise<string[]> {
  const folder = join(root, 'nvidia');
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory() || entry.isSymbolicLink()).map(({ name }) => join(folder, name));
}
