// What a training run tells: one live line on a terminal, plain lines elsewhere, or JSON lines for programs.
import type { RunEvent, RunResult } from '../train/run.node.ts';
import { formatCount, formatSeconds } from './format.node.ts';
import type { Io } from './io.node.ts';
import { describePlan } from './plan-report.node.ts';

export interface Teller {
  tell(event: RunEvent): void;
  /** Takes an unfinished live line away. */
  clear(): void;
  /** `next`: the command to type next. */
  end(result: RunResult, next: string): void;
}

/** Between two drawings of the live line, in milliseconds. */
const REDRAW_MS = 100;
/** Between two JSON lines of progress. */
const PROGRESS_MS = 1000;
/** Lines for the steps of a run where nobody watches. */
const PLAIN_LINES = 20;

/** What objectives tell, in words. */
const metricNames: Readonly<Record<string, string>> = {
  divergence: 'divergence',
  studentLoss: 'student',
  teacherLoss: 'teacher',
  relativeError: 'relative error',
};

export class JsonTeller implements Teller {
  readonly #stream: Io['stdout'];
  #told = -Infinity;

  constructor(stream: Io['stdout']) {
    this.#stream = stream;
  }

  tell(event: RunEvent): void {
    if (event.kind === 'progress') {
      const now = performance.now();
      if (now - this.#told < PROGRESS_MS) return;
      this.#told = now;
    }
    this.#stream.write(`${JSON.stringify(event)}\n`);
  }

  clear(): void {}

  end(result: RunResult, next: string): void {
    this.#stream.write(`${JSON.stringify({ kind: 'done', ...result, next })}\n`);
  }
}

export class TextTeller implements Teller {
  readonly #stream: Io['stdout'];
  readonly #isBrief: boolean;
  #drawn = -Infinity;
  #lineShown = false;
  #stage = '';
  #stageStart = 0;

  /** `isBrief`: without the recipe and its plan. */
  constructor(stream: Io['stdout'], isBrief = false) {
    this.#stream = stream;
    this.#isBrief = isBrief;
  }

  tell(event: RunEvent): void {
    if (event.kind === 'progress') this.#progress(event);
    else if (event.kind === 'step') this.#step(event);
    else if (this.#isBrief && event.kind === 'recipe') this.#line(`run folder: ${event.folder}`);
    else if (!this.#isBrief || event.kind !== 'plan') this.#line(describe(event));
  }

  clear(): void {
    if (this.#lineShown) this.#stream.write('\r\u001b[K');
    this.#lineShown = false;
  }

  end({ step, stopped, heldOut, before, folder, final }: RunResult, next: string): void {
    if (stopped) return this.#line(`stopped after step ${step}; go on with:\n  ${next}`);
    if (heldOut) {
      const each = Object.entries(heldOut.sources).map(
        ([source, { bitsPerByte }]) => `${source} ${bitsPerByte.toFixed(3)}`,
      );
      const parts = each.length > 1 ? ` (${each.join(', ')})` : '';
      this.#line(
        `held-out: ${heldOut.bitsPerByte.toFixed(3)} bits a byte${parts}, over ${formatCount(heldOut.bytes)} bytes${before ? `; ${before.bitsPerByte.toFixed(3)} before` : ''}`,
      );
    }
    if (before && final !== undefined) this.#line(`adapter: ${final}`);
    return this.#line(`plot: ${folder}/plot.html\nnext: ${next}`);
  }

  #step({ step, steps, loss, metrics, tokensPerSecond, etaSeconds }: RunEvent & { kind: 'step' }): void {
    const left = step < steps ? `  ${formatSeconds(etaSeconds)} left` : '';
    const told = Object.entries(metrics).map(([name, value]) => `  ${metricNames[name] ?? name} ${value.toFixed(3)}`);
    const text = `step ${step}/${steps}  loss ${loss.toFixed(3)}${told.join('')}  ${formatCount(Math.round(tokensPerSecond))} tokens/s${left}`;
    if (this.#stream.isTTY) this.#redraw(text, step === steps);
    else if (step === 1 || step === steps || step % Math.ceil(steps / PLAIN_LINES) === 0) this.#line(text);
  }

  #progress({ stage, what, unit, done, total }: RunEvent & { kind: 'progress' }): void {
    const name = `${stage}: ${what}`;
    const isNew = name !== this.#stage;
    if (isNew) [this.#stage, this.#stageStart] = [name, performance.now()];
    if (!this.#stream.isTTY) {
      if (isNew) this.#line(name);
      return;
    }
    const passed = (performance.now() - this.#stageStart) / 1000;
    const left = total === undefined || done === 0 ? '' : `  ${formatSeconds((passed * (total - done)) / done)} left`;
    this.#redraw(
      `${name}  ${formatCount(done)}${total === undefined ? '' : ` of ${formatCount(total)}`} ${unit}${left}`,
      isNew,
    );
  }

  #redraw(text: string, always: boolean): void {
    const now = performance.now();
    if (!always && now - this.#drawn < REDRAW_MS) return;
    this.#drawn = now;
    this.#stream.write(`\r\u001b[K${text}`);
    this.#lineShown = true;
  }

  #line(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }
}

function describe(event: Exclude<RunEvent, { kind: 'progress' } | { kind: 'step' }>): string {
  switch (event.kind) {
    case 'recipe':
      return `${JSON.stringify(event.recipe, undefined, 2)}\nrun folder: ${event.folder}`;
    case 'notice':
      return event.text;
    case 'begin': {
      const texts = Object.entries(event.sources).map(([source, { trainTokens, heldOutTokens, textBytes }]) => {
        const held = heldOutTokens > 0 ? ` and ${formatCount(heldOutTokens)} held out` : '';
        return `${source}: ${formatCount(textBytes)} bytes, ${formatCount(trainTokens)} tokens to train on${held}`;
      });
      const from = event.step > 0 ? `, going on after step ${event.step}` : '';
      return [
        ...texts,
        `${formatCount(event.parameters)} parameters${event.trained < event.parameters ? `, ${formatCount(event.trained)} of them trained,` : ''} on ${event.engine}; ${event.steps} steps${from}`,
      ].join('\n');
    }
    case 'plan':
      return describePlan(event);
    case 'heldOut':
      return `step ${event.step}  held-out ${event.bitsPerByte.toFixed(3)} bits a byte, ${event.natsPerToken.toFixed(3)} nats a token`;
    case 'teacher':
      return `the teacher's  held-out ${event.bitsPerByte.toFixed(3)} bits a byte, ${event.natsPerToken.toFixed(3)} nats a token`;
    case 'checkpoint':
      return `step ${event.step}  saved ${event.path}`;
    case 'sample':
      return `\n${event.of ? `[${event.of === 'base' ? 'before' : 'after'}] ` : ''}${event.prompt}${event.isAnswer ? '\n-> ' : ''}${event.text}\n`;
  }
}
