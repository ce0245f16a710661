// How a worker comes by its model: ONNX Runtime on a GPU or in WebAssembly, and the model's files by their URL.
import type { WebEngine } from '../engines/onnx/engine.web.ts';
import { onnxGpuEngine, onnxWebEngine, requestGpu } from '../engines/onnx/engine.web.ts';
import { load } from '../generate/load.ts';
import type { LanguageModel } from '../generate/model.ts';
import type { Question, TabLoadSettings, TabProgress, TabStatus } from './messages.ts';

export interface Opened {
  readonly model: LanguageModel;
  readonly memory: () => Pick<TabStatus, 'bufferBytes' | 'heapBytes'>;
}

export type Open = (
  question: Question & { readonly kind: 'load' },
  onProgress: (progress: TabProgress) => void,
) => Promise<Opened>;

/** `files`: URL of the folder with the engine's files. */
export const openWith =
  (files: string): Open =>
  async ({ url, settings }, onProgress) => {
    const { engine: wanted = 'auto', threads, numerics, ...rest } = settings;
    const { engine, isGpu } = await openEngine(files, wanted, threads);
    const model = await load(url, {
      ...rest,
      // A GPU's kernels multiply packed weights by floats.
      numerics: numerics ?? (isGpu ? 'stable' : 'fast'),
      engine,
      // The memory of a tab is small.
      maxBatch: 1,
      onDownload: (progress) => onProgress({ stage: 'download', ...progress }),
      onProgress: ({ loadedBytes: doneBytes, totalBytes }) => onProgress({ stage: 'weights', doneBytes, totalBytes }),
    });
    return { model, memory: () => ({ bufferBytes: engine.live().bytes, heapBytes: engine.heapBytes }) };
  };

/** Errors: `no-webgpu` where nothing but a GPU is wanted; those of the engine. */
async function openEngine(
  files: string,
  wanted: NonNullable<TabLoadSettings['engine']>,
  threads: number | undefined,
): Promise<{ readonly engine: WebEngine; readonly isGpu: boolean }> {
  if (wanted === 'webgpu') return { engine: await onnxGpuEngine(await requestGpu(), { files }), isGpu: true };
  if (wanted === 'auto') {
    try {
      const adapter = await requestGpu();
      if (!adapter.info.isFallbackAdapter) return { engine: await onnxGpuEngine(adapter, { files }), isGpu: true };
    } catch {
      // Whatever is amiss with the GPU, the processor is there.
    }
  }
  return { engine: await onnxWebEngine({ files, threads }), isGpu: false };
}
