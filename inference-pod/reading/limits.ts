/** A gzip file that gives more than this many times its size, and more than `freeExpansion`, is taken for a bomb. */
export const maxExpansion = 200;
export const freeExpansion = 64 * 1024 * 1024;

/** A longer result line becomes the item error OutputTooLarge. */
export const maxResultBytes = 16 * 1024 * 1024;

/** A longer line becomes the item error LineTooLong; it is skipped without being held in memory. */
export const maxLineBytes = 16 * 1024 * 1024;
