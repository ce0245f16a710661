// How a worker comes by its model: ONNX Runtime's WebAssembly module, and the model's files by their URL.
import { onnxWebEngine } from '../engines/onnx/engine.web.ts';
import { load } from '../generate/load.ts';
import type { LanguageModel } from '../generate/model.ts';
import type { Question, TabProgress, TabStatus } from './messages.ts';

export interface Opened {
  readonly model: LanguageModel;
  readonly memory: () => Pick<TabStatus, 'bufferBytes' | 'heapBytes'>;
}

export type Open = (
  question: Question & { readonly kind: 'load' },
  onProgress: (progress: TabProgress) => void,
) => Promise<Opened>;

/** `files`: URL of the folder with the engine's two files. */
export const openWith =
  (files: string): Open =>
  async ({ url, settings }, onProgress) => {
    const { threads, numerics = 'fast', ...rest } = settings;
    const engine = await onnxWebEngine({ files, threads });
    const model = await load(url, {
      ...rest,
      numerics,
      engine,
      // The memory of a tab is small.
      maxBatch: 1,
      onDownload: (progress) => onProgress({ stage: 'download', ...progress }),
      onProgress: ({ loadedBytes: doneBytes, totalBytes }) => onProgress({ stage: 'weights', doneBytes, totalBytes }),
    });
    return { model, memory: () => ({ bufferBytes: engine.live().bytes, heapBytes: engine.heapBytes }) };
  };
