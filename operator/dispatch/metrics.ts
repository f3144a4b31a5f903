/** What the sync server reports of itself; the names on the wire are the caller's. */
export interface SyncMetrics {
  /** One request answered with this HTTP status after this long, holding included. */
  answered(status: number, seconds: number): void;
  /** Requests being read, held or answered. */
  open(delta: 1 | -1): void;
}
