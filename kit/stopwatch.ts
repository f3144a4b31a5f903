/** Times of what is under way, each observed once when it ends. In milliseconds of the caller's clock; observed in seconds. */
export class Stopwatch {
  readonly #begun = new Map<string, number>();
  readonly #observe: (seconds: number) => void;

  constructor(observe: (seconds: number) => void) {
    this.#observe = observe;
  }

  begin(id: string, now: number): void {
    this.#begun.set(id, now);
  }

  /** It will not end, or not for the reason that is measured. */
  drop(id: string): void {
    this.#begun.delete(id);
  }

  /** Nothing for what was not begun. */
  end(id: string, now: number): void {
    const at = this.#begun.get(id);
    if (at === undefined) return;
    this.#begun.delete(id);
    this.#observe((now - at) / 1_000);
  }
}
