// Scratch memory that sessions share: a prompt's chunk takes tens of megabytes, a step after it next to none.
import { library, type Pointer } from './library.node.ts';

/** By which a session takes its scratch memory from the arena. */
export const ARENA_CONFIG = 'session.use_env_allocators';
const SHRINKAGE = 'memory.enable_memory_arena_shrinkage';

let isRegistered = false;
let shrinking: Pointer | undefined;
let last: object | undefined;
let isShrunk = true;

/** Makes the arena, which lives as long as the process; a second call does nothing. */
export function registerArena(): void {
  if (isRegistered) return;
  const { calls, environment, hostMemory } = library();
  library().check(calls.createAndRegisterAllocator(environment, hostMemory, null), 'make an arena');
  isRegistered = true;
}

/**
 * The OrtRunOptions* of a run on the arena, or null for none. The second of two runs by one `runner` gives back what runs of others, and
 * the first, left free: where runs of several kinds alternate, nothing is.
 */
export function arenaRunOptions(runner: object): Pointer | null {
  if (runner !== last) {
    last = runner;
    isShrunk = false;
    return null;
  }
  if (isShrunk) return null;
  isShrunk = true;
  return (shrinking ??= makeShrinking());
}

function makeShrinking(): Pointer {
  const { calls } = library();
  const pointer = library().pointer('make run options', (out) => calls.createRunOptions(out));
  library().check(calls.addRunConfigEntry(pointer, SHRINKAGE, 'cpu:0'), `set ${SHRINKAGE}`);
  return pointer;
}
