/** Limits of S3 (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html): every part but the last has at least … */
export const leastPartBytes = 5 * 1024 * 1024;
export const mostParts = 10_000;

/** One part of a multipart upload: as many of the pieces, behind those of the part before. */
export interface Part {
  pieces: number;
  bytes: number;
  /** It is one piece, large enough to be copied within the store. */
  copied: boolean;
}

/**
 * Puts pieces of these lengths, none of them 0, together to parts. A piece is never divided: it is far smaller than the
 * 5 GiB that a part may have.
 */
export function planParts(lengths: readonly number[]): Part[] {
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const least = Math.max(leastPartBytes, Math.ceil(total / mostParts));
  const parts: Part[] = [];
  let open: Part = { pieces: 0, bytes: 0, copied: false };
  for (const length of lengths) {
    open = { pieces: open.pieces + 1, bytes: open.bytes + length, copied: open.pieces === 0 && length >= leastPartBytes };
    if (open.bytes < least) continue;
    parts.push(open);
    open = { pieces: 0, bytes: 0, copied: false };
  }
  return open.pieces === 0 ? parts : [...parts, open];
}
