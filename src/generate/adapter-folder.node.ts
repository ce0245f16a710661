// Writes a LoRA adapter as a folder that peft reads, and `loadAdapter`.
import type { FolderWriter } from '../files/atomic.node.ts';
import { writeFolderAtomic } from '../files/atomic.node.ts';
import { writeSafetensors } from '../files/safetensors-write.ts';
import type { Model } from '../liquid/index.ts';
import { factorNames } from '../liquid/index.ts';
import type { ParameterReader } from '../models/index.ts';
import { peftConfigOf, peftNames } from '../models/peft.ts';
import { LfmError } from '../tensor/index.ts';

export interface SavedAdapter {
  /** As `withLowRank` gives it, all changes of one rank and scale. */
  readonly model: Model;
  /** Of the checkpoint that is adapted. */
  readonly parameters: Pick<ParameterReader, 'rowsIn'>;
  /** The value of a factor, by the model's name of it. */
  readonly read: (name: string) => Promise<Float32Array>;
}

/** Errors: those of `addAdapterFiles` and `writeFolderAtomic`. */
export async function saveAdapter(path: string, adapter: SavedAdapter): Promise<void> {
  await writeFolderAtomic(path, (folder) => addAdapterFiles(folder, adapter));
}

/**
 * Adds adapter_config.json and adapter_model.safetensors.
 * Errors: `bad-adapter` where a matrix is no tensor of its own in the checkpoint, or the changes are not alike.
 */
export async function addAdapterFiles(folder: FolderWriter, { model, parameters, read }: SavedAdapter): Promise<void> {
  const changes = Object.entries(model.parameters).flatMap(([name, { lowRank, shape }]) => {
    if (!lowRank) return [];
    const place = parameters.rowsIn(name);
    if (!place?.tensor.endsWith('.weight') || place.rows !== shape[0])
      throw new LfmError('bad-adapter', `${name} is no tensor of its own in the checkpoint: leave it as it is.`);
    return [{ name, lowRank, module: place.tensor.slice(0, -'.weight'.length) }];
  });
  const [first] = changes;
  if (
    !first ||
    changes.some(({ lowRank: { rank, scale } }) => rank !== first.lowRank.rank || scale !== first.lowRank.scale)
  )
    throw new LfmError('bad-adapter', 'An adapter is saved with one rank and scale: expected changes that are alike.');
  const { rank, scale } = first.lowRank;
  const config = peftConfigOf(
    changes.map(({ module }) => module),
    { rank, alpha: scale * rank },
  );
  const tensors = changes.flatMap(({ name, module }) => {
    const [ours, theirs] = [factorNames(name), peftNames(module)];
    const tensor = (from: string, to: string) => ({
      name: to,
      dtype: 'float32' as const,
      shape: model.parameters[from]?.shape ?? [],
      data: () => read(from),
    });
    return [tensor(ours.a, theirs.a), tensor(ours.b, theirs.b)];
  });
  await folder.file('adapter_config.json', `${JSON.stringify(config, null, 2)}\n`);
  await folder.file('adapter_model.safetensors', (sink) => writeSafetensors(sink, tensors, { format: 'pt' }));
}
