// Work that must not overlap, such as runs of one binding, or calls of a module with one stack.

/** Does each piece of work once those given before are over, however they ended. */
export type InTurn = <R>(work: () => R | Promise<R>) => Promise<R>;

export function inTurn(): InTurn {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const turn = last.then(work);
    last = turn.catch(() => undefined);
    return turn;
  };
}
