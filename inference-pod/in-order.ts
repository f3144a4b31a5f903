/** What `work` makes of each of `items`, in their order, while up to `atOnce` are at work or wait to be taken. */
export async function* inOrder<T, R>(items: Iterable<T>, atOnce: number, work: (item: T) => Promise<R>): AsyncGenerator<R> {
  const begun: Promise<R>[] = [];
  const begin = (item: T): void => {
    const result = work(item);
    // It is awaited in its turn; until then a failure must not count as unhandled.
    result.catch(() => undefined);
    begun.push(result);
  };
  for (const item of items) {
    begin(item);
    if (begun.length >= atOnce) yield await (begun.shift() as Promise<R>);
  }
  while (begun.length > 0) yield await (begun.shift() as Promise<R>);
}
