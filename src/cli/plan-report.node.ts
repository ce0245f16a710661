// A training plan for people.
import type { PlanReport } from '../train/plan-report.ts';
import { formatBytes, formatCount, formatDuration, formatSeconds } from './format.node.ts';

export function describePlan(plan: PlanReport): string {
  const { devices, mesh, parameters, dtype, memory, device, speed, steps, tokensPerStep, collectives, instead } = plan;
  const axes = Object.entries(mesh).map(([axis, size]) => `${axis}=${size}`);
  const where = devices > 1 ? `${devices} devices (${axes.join(' x ')})` : 'one device';
  const of = device.memory === undefined ? '' : `, of ${formatBytes(device.memory)}`;
  const lines = [
    `plan: ${formatCount(parameters)} parameters on ${where}${device.name === undefined ? '' : `, ${device.name}`}, ${dtype}`,
    `  memory of each device  about ${formatBytes(memory.total)}${of}: parameters and moments ${formatBytes(memory.state)}, a pass ${formatBytes(memory.pass)}`,
    `  a step                 ${formatCount(tokensPerStep)} tokens, ${formatCount(plan.flopsPerStep)}FLOP`,
    ...Object.entries(collectives).map(
      ([what, bytes]) => `  each device sends      ${formatBytes(bytes)} a step, ${what}`,
    ),
  ];
  if (speed) {
    const { mfu, secondsPerStep, secondsOfCollectives } = speed;
    const hidden = secondsOfCollectives > 0 ? `, ${formatDuration(secondsOfCollectives)} of collectives behind it` : '';
    lines.push(
      `  to expect              ${(100 * mfu).toFixed(0)}% MFU: ${formatDuration(secondsPerStep)} a step${hidden}, ${formatCount(Math.round(tokensPerStep / secondsPerStep))} tokens/s, ${formatSeconds(steps * secondsPerStep)} for ${formatCount(steps)} steps`,
    );
  }
  if (instead === null)
    lines.push(
      '  does not fit           and no smaller batch would: take more devices (--mesh fsdp=N) or shorter rows',
    );
  else if (instead) lines.push(`  does not fit           ${instead.change} would: about ${formatBytes(instead.bytes)}`);
  return lines.join('\n');
}
