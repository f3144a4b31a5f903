/** Slots of the first and the last item of a run, and how many it has. */
export interface RunMark {
  first: number;
  last: number;
  items: number;
}

/** Shared memory in which the thread of a session says what it runs, since it can say nothing else while it does. */
export class RunMarks {
  readonly memory: SharedArrayBuffer;
  /** [0]: odd while a run is on, another number for each; then the slots and the count. */
  readonly #cells: Int32Array;

  constructor(memory = new SharedArrayBuffer(16)) {
    this.memory = memory;
    this.#cells = new Int32Array(memory);
  }

  begin({ first, last, items }: RunMark): void {
    Atomics.store(this.#cells, 1, first);
    Atomics.store(this.#cells, 2, last);
    Atomics.store(this.#cells, 3, items);
    Atomics.add(this.#cells, 0, 1);
  }

  end(): void {
    Atomics.add(this.#cells, 0, 1);
  }

  /** Even between runs. */
  get run(): number {
    return Atomics.load(this.#cells, 0);
  }

  get mark(): RunMark {
    return { first: Atomics.load(this.#cells, 1), last: Atomics.load(this.#cells, 2), items: Atomics.load(this.#cells, 3) };
  }
}

/** Tells by looking now and then when one run takes longer than `limitMs`, from the first look on. */
export class RunWatch {
  readonly #marks: RunMarks;
  readonly #limitMs: number;
  #run = 0;
  #since = 0;

  constructor(marks: RunMarks, limitMs: number) {
    this.#marks = marks;
    this.#limitMs = limitMs;
  }

  /** The run that is on for too long at `now` (milliseconds, monotonic). */
  overdue(now: number): RunMark | undefined {
    const { run } = this.#marks;
    if (run !== this.#run) {
      this.#run = run;
      this.#since = now;
    }
    return run % 2 !== 0 && now - this.#since >= this.#limitMs ? this.#marks.mark : undefined;
  }
}
