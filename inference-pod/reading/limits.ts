/** A longer result line becomes the item error OutputTooLarge. */
export const maxResultBytes = 16 * 1024 * 1024;

/** A longer line becomes the item error LineTooLong; it is skipped without being held in memory. */
export const maxLineBytes = 16 * 1024 * 1024;
