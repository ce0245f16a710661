// What the partitioned training step of LFM2-350M's shape sends between eight devices, counted from the compiler's optimised
// program on CPU devices, against NVLink's rate: on paper, where no such machine is at hand. Nothing is run. XLA's CPU compiler
// widens bfloat16 to float32 and keeps sums where a GPU's scatters them: twice a GPU's bytes, and more for fsdp.
import { parseArgs } from 'node:util';
import type { Mesh } from '../src/engines/xla/mesh.ts';
import { deviceCountOf, meshText } from '../src/engines/xla/mesh.ts';
import { xlaEngine } from '../src/engines/xla/engine.node.ts';
import { gradientProgram } from '../src/liquid/index.ts';
import { lfm2 } from '../src/models/lfm2.ts';
import { lfm2Configs } from '../src/models/lfm2-sizes.ts';
import { formatBytes, formatTable } from '../src/cli/format.node.ts';
import { updatedTypes, updateProgram } from '../src/train/adamw.ts';
import { collectivesOf } from '../src/train/benchmark-device.node.ts';
import { fusedStepProgram } from '../src/train/fused-step.ts';
import { peakFlops } from '../src/train/peak-flops.ts';
import { expectedSpeed, LINK_BYTES_PER_SECOND, planTraining } from '../src/train/plan.ts';
import { shardingsFor } from '../src/train/sharding.ts';

const meshes: readonly Mesh[] = [
  { data: 8 },
  { fsdp: 8 },
  { tensor: 8 },
  { sequence: 8 },
  { data: 2, fsdp: 4 },
  { fsdp: 4, tensor: 2 },
];
/** Of an H100. */
const FLOPS = peakFlops('H100') ?? Number.NaN;

export async function benchCollectives(argv: readonly string[]): Promise<void> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean' },
      length: { type: 'string', default: '2048' },
      only: { type: 'string', default: '' },
      help: { type: 'boolean' },
    },
  });
  if (values.help) {
    console.log('npm run bench -- collectives [--json] [--length 2048] [--only tensor]');
    return;
  }
  const length = Number(values.length);
  const config = lfm2Configs['lfm2-350m'];
  if (!config) throw new Error('lfm2-350m is not among the sizes.');
  const model = lfm2(config);
  const rows: Record<string, unknown>[] = [];
  for (const mesh of meshes.filter((candidate) => meshText(candidate).includes(values.only))) {
    const { data = 1, fsdp = 1 } = mesh;
    // Eight rows a device where rows are divided; eight in all where they are not.
    const batch = { size: 8 * data * fsdp, length, accumulate: 1 };
    const request = { model, batch, dtype: 'bfloat16', recompute: false, mesh } as const;
    const step = fusedStepProgram(
      gradientProgram(model, { batch: batch.size, length, dtype: 'bfloat16' }),
      updateProgram(updatedTypes(model.parameters)),
    );
    const engine = await xlaEngine({ plugin: 'xla-cpu', mesh });
    try {
      const start = performance.now();
      const executable = await engine.compile(step, { shardings: shardingsFor(engine, model, batch) });
      const plan = planTraining(request);
      const kinds = collectivesOf([executable]);
      const sent = Object.entries(kinds).reduce((sum, [kind, { bytes }]) => sum + bytes * share(kind, mesh), 0);
      const { secondsPerStep } = expectedSpeed({ ...plan, collectives: {} }, false, FLOPS);
      const row = {
        mesh: meshText(mesh),
        batch: batch.size,
        kinds,
        sentBytes: sent,
        plannedBytes: Object.values(plan.collectives).reduce((sum, bytes) => sum + bytes, 0),
        msOnLinks: (1000 * sent) / LINK_BYTES_PER_SECOND,
        msOfProducts: 1000 * secondsPerStep,
        compileSeconds: (performance.now() - start) / 1000,
      };
      rows.push(row);
      if (!values.json) console.log(textOf(row));
    } finally {
      await engine.close();
    }
  }
  if (values.json) console.log(JSON.stringify(rows, undefined, 2));
}

/** Bytes that one device sends for each byte of a collective's result there, in rings over as many devices as the mesh has. */
function share(kind: string, mesh: Mesh): number {
  const devices = deviceCountOf(mesh);
  const ring = (devices - 1) / devices;
  if (kind === 'all-reduce') return 2 * ring;
  // The result is one device's part of what all hold.
  if (kind === 'reduce-scatter') return devices - 1;
  return ring;
}

interface Row {
  readonly mesh: string;
  readonly kinds: Readonly<Record<string, { readonly count: number; readonly bytes: number }>>;
  readonly sentBytes: number;
  readonly plannedBytes: number;
  readonly msOnLinks: number;
  readonly msOfProducts: number;
}

function textOf({ mesh, kinds, sentBytes, plannedBytes, msOnLinks, msOfProducts }: Row): string {
  const lines = Object.entries(kinds).map(([kind, { count, bytes }]) => [
    `  ${kind}`,
    String(count),
    formatBytes(bytes),
  ]);
  return `${mesh}: each device sends ${formatBytes(sentBytes)} a step (planned ${formatBytes(plannedBytes)}), ${msOnLinks.toFixed(1)} ms at ${LINK_BYTES_PER_SECOND / 1e9} GB/s beside ${msOfProducts.toFixed(1)} ms of arithmetic\n${formatTable(['  collective', 'count', 'result bytes'], lines)}`;
}
