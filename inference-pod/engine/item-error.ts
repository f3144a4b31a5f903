export type ItemErrorCode =
  | 'InvalidJson'
  | 'InvalidCsv'
  | 'InvalidUtf8'
  | 'InvalidItem'
  | 'LineTooLong'
  | 'TextTooLong'
  | 'NonFiniteOutput'
  | 'OutputTooLarge'
  | 'TimedOut'
  | 'InferenceFailed';

/** One item cannot be done; the others go on. `id` is the item's id as JSON text, where it is known. */
export class ItemError extends Error {
  readonly code: ItemErrorCode;
  id?: string;

  constructor(code: ItemErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
