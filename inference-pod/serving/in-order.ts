/** Lets what ends in any order leave in the order in which it entered. */
export class InOrder {
  readonly #turns: { leave: (() => void) | undefined }[] = [];

  /** The returned function is to be called once; `leave` is called at once, or when all that entered before have left. */
  enter(): (leave: () => void) => void {
    const turn: { leave: (() => void) | undefined } = { leave: undefined };
    this.#turns.push(turn);
    return (leave) => {
      turn.leave = leave;
      for (let head = this.#turns[0]; head?.leave !== undefined; head = this.#turns[0]) {
        this.#turns.shift();
        head.leave();
      }
    };
  }
}
