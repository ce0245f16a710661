// How a worker comes by its model: ONNX Runtime on a GPU or in WebAssembly, and the model's files by their URL.
import type { WebEngine } from '../engines/onnx/engine.web.ts';
import { onnxGpuEngine, onnxWebEngine, requestGpu } from '../engines/onnx/engine.web.ts';
import { load } from '../generate/load.ts';
import type { LanguageModel } from '../generate/model.ts';
import type { Numerics } from '../generate/weights.ts';
import type { Question, TabProgress, TabStatus } from './messages.ts';

export interface Opened {
  readonly model: LanguageModel;
  readonly memory: () => Pick<TabStatus, 'bufferBytes' | 'heapBytes'>;
}

export type Open = (
  question: Question & { readonly kind: 'load' },
  onProgress: (progress: TabProgress) => void,
) => Promise<Opened>;

/** `files`: URL of the folder with the engine's files. Errors: `no-webgpu` where nothing but a GPU is wanted; those of loading. */
export const openWith =
  (files: string): Open =>
  async ({ url, settings }, onProgress) => {
    const { engine: wanted = 'auto', threads, numerics, adapters: _, ...rest } = settings;
    const loadOn = async (engine: WebEngine, usual: Numerics): Promise<Opened> => {
      const model = await load(url, {
        ...rest,
        numerics: numerics ?? usual,
        engine,
        // The memory of a tab is small.
        maxBatch: 1,
        onDownload: (progress) => onProgress({ stage: 'download', ...progress }),
        onProgress: ({ loadedBytes: doneBytes, totalBytes }) => onProgress({ stage: 'weights', doneBytes, totalBytes }),
      });
      return { model, memory: () => ({ bufferBytes: engine.live().bytes, heapBytes: engine.heapBytes }) };
    };
    const onGpu = async (adapter: GPUAdapter) => {
      const engine = await onnxGpuEngine(adapter, { files });
      try {
        // Its kernels multiply packed weights by floats.
        const opened = await loadOn(engine, 'stable');
        const { scheduler } = opened.model;
        // Its shaders are compiled here, rather than before the first answer; what it cannot do shows here too.
        for await (const _ of scheduler.generate([0], { maxTokens: 1 }));
        await scheduler.clearCache();
        return opened;
      } catch (error) {
        await engine.close();
        throw error;
      }
    };
    if (wanted === 'webgpu') return onGpu(await requestGpu());
    const adapter = wanted === 'auto' ? await requestGpu().catch(() => undefined) : undefined;
    if (adapter && !adapter.info.isFallbackAdapter) {
      try {
        return await onGpu(adapter);
      } catch (error) {
        console.warn('lfm: the GPU cannot run this model, WebAssembly does:', error);
      }
    }
    return loadOn(await onnxWebEngine({ files, threads }), 'fast');
  };
