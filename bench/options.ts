// What benchmarks share in reading their options.

/** Names out of `known` that a comma-separated option asks for; all of them where it is absent. Exits on one that is unknown. */
export function chosen(what: string, asked: string | undefined, known: readonly string[]): readonly string[] {
  const names = asked?.split(',') ?? known;
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return names;
  console.error(`Expected a ${what} of ${known.join(', ')}; found "${unknown}".`);
  process.exit(2);
}

/** The engine that `--engine` names, with `--threads` where it takes them. */
export function engineOf({ engine, threads }: { readonly engine: string; readonly threads: string }) {
  return engine === 'onnx' ? { name: engine, threads: Number(threads) } : { name: engine };
}
