import { allocate, type BigArray, type Dtype, type NumberArray } from './dtypes.ts';

/** Elements that are kept for the next group; the room of a larger one is given back after it. */
const mostKept = 2 ** 21;

/**
 * Where the elements of one input are kept, those of an item behind those of the item before it, so that a batch of such
 * items is a feed without a copy. It is used again from the start, which makes allocations, and collections, rare.
 */
export class ElementRoom {
  readonly #dtype: Dtype;
  #array: NumberArray | BigArray;
  #used = 0;

  /** `dtype` is a number. */
  constructor(dtype: Dtype) {
    this.#dtype = dtype;
    this.#array = this.#allocate(0);
  }

  /** The array that has room for `count` elements from `used` on. What is stored behind them is without effect. */
  reserve(count: number): NumberArray | BigArray {
    if (this.#used + count > this.#array.length) {
      this.#array = this.#allocate(Math.max(count, Math.min(this.#array.length * 2, mostKept)));
      this.#used = 0;
    }
    return this.#array;
  }

  get used(): number {
    return this.#used;
  }

  /** The next `count` elements, which stay until `clear`. */
  take(count: number): NumberArray | BigArray {
    const from = this.#used;
    this.#used += count;
    return this.#array.subarray(from, this.#used);
  }

  /** What was taken is not needed any more. */
  clear(): void {
    this.#used = 0;
    if (this.#array.length > mostKept) this.#array = this.#allocate(0);
  }

  #allocate(length: number): NumberArray | BigArray {
    return allocate(this.#dtype, length) as NumberArray | BigArray;
  }
}
