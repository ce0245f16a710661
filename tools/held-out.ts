// The parts of texts that a training run holds out, as texts to measure on: npx tsx --conditions=lfm-source tools/held-out.ts FOLDER SHARE FILE...
// writes FOLDER/NAME.txt. They are those of `lfm train` for a recipe of seed 0 whose heldOut.share is SHARE (or more), with blocks of 16 KiB.
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { BlockCutter } from '../src/data/blocks.ts';
import { holdsOut } from '../src/data/prepare.node.ts';
import { readText, splitterFor } from '../src/data/text-files.node.ts';

const [folder, share, ...files] = process.argv.slice(2);
if (folder === undefined || !(Number(share) > 0) || files.length === 0)
  throw new Error('Usage: tools/held-out.ts FOLDER SHARE FILE...');
await mkdir(folder, { recursive: true });
for (const file of files) {
  const [splitter, cutter] = [splitterFor(file, 'marker'), new BlockCutter(16384)];
  const kept: Uint8Array[] = [];
  const take = (pieces: ReturnType<typeof splitter.push>) => {
    for (const piece of pieces)
      for (const { bytes } of piece === 'end' ? cutter.end() : cutter.push(piece))
        if (bytes.length > 0 && holdsOut(bytes, 0, Number(share))) kept.push(bytes, Buffer.from('\n\n'));
  };
  for await (const chunk of readText(file)) take(splitter.push(chunk));
  take(splitter.end());
  const text = Buffer.concat(kept);
  const name = `${basename(file).split('.')[0]}.txt`;
  console.log(`${name}: ${kept.length / 2} blocks, ${text.length} bytes${text.length === 0 ? ': not written' : ''}`);
  if (text.length > 0) await writeFile(join(folder, name), text);
}
