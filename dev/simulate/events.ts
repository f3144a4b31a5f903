/** What is to happen, by time; what is added first of those at the same time comes first. A binary heap. */
export class Events<T> {
  readonly #heap: { at: number; serial: number; event: T }[] = [];
  #serial = 0;

  get nextAt(): number {
    return this.#heap[0]?.at ?? Number.POSITIVE_INFINITY;
  }

  add(at: number, event: T): void {
    const heap = this.#heap;
    const entry = { at, serial: this.#serial++, event };
    let index = heap.length;
    heap.push(entry);
    while (index > 0) {
      const parent = (index - 1) >> 1;
      const above = heap[parent] as typeof entry;
      if (!before(entry, above)) break;
      heap[index] = above;
      index = parent;
    }
    heap[index] = entry;
  }

  /** The next one, if it is due by then. */
  take(until: number): T | undefined {
    const heap = this.#heap;
    const [first] = heap;
    if (first === undefined || first.at > until) return undefined;
    const last = heap.pop() as typeof first;
    if (heap.length > 0) {
      let index = 0;
      for (;;) {
        let child = 2 * index + 1;
        if (child >= heap.length) break;
        if (child + 1 < heap.length && before(heap[child + 1] as typeof first, heap[child] as typeof first)) child++;
        if (!before(heap[child] as typeof first, last)) break;
        heap[index] = heap[child] as typeof first;
        index = child;
      }
      heap[index] = last;
    }
    return first.event;
  }
}

const before = (a: { at: number; serial: number }, b: { at: number; serial: number }): boolean => a.at < b.at || (a.at === b.at && a.serial < b.serial);
