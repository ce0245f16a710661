// npm run bench -- NAME: lfm beside its rivals, in one run.
import { benchCollectives } from './collectives.ts';
import { benchDecode } from './decode.ts';
import { benchDistilled } from './distilled.ts';
import { benchMad } from './mad.ts';
import { benchExperts } from './experts.ts';
import { benchExports } from './exports.ts';
import { benchGenerate } from './generate.ts';
import { benchGpu } from './gpu.ts';
import { benchLoad } from './load.ts';
import { benchSequences } from './sequences.ts';
import { benchLmEval } from './lm-eval.ts';
import { benchMemory } from './memory.ts';
import { benchOperators } from './operators.ts';
import { benchOperatorTable } from './operator-table.ts';
import { benchParity } from './parity.ts';
import { benchStructured } from './structured.ts';
import { benchServe } from './serve.ts';
import { benchTab } from './tab.ts';
import { benchTrain } from './train.ts';

const benches: Readonly<Record<string, (argv: readonly string[]) => Promise<void>>> = {
  train: benchTrain,
  decode: benchDecode,
  distilled: benchDistilled,
  mad: benchMad,
  sequences: benchSequences,
  generate: benchGenerate,
  gpu: benchGpu,
  memory: benchMemory,
  collectives: benchCollectives,
  operators: benchOperators,
  'operator-table': benchOperatorTable,
  parity: benchParity,
  exports: benchExports,
  load: benchLoad,
  experts: benchExperts,
  tab: benchTab,
  'lm-eval': benchLmEval,
  structured: benchStructured,
  serve: benchServe,
};

const [name = '', ...rest] = process.argv.slice(2);
const bench = benches[name];
if (bench) await bench(rest);
else {
  console.error(
    `Usage: npm run bench -- NAME [OPTION...], with a NAME of ${Object.keys(benches).join(', ')}; NAME --help tells its options.`,
  );
  process.exitCode = 2;
}
