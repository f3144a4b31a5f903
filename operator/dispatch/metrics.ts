import type { WorkerId } from '../../inference-pod/contract.ts';

/** What the sync server reports of itself; the names on the wire are the caller's. */
export interface SyncMetrics {
  /** One request answered with this HTTP status after this long, holding included; its last byte has been given to the connection. */
  answered(status: number, seconds: number): void;
  /** This worker was told to leave, and the answer has been given to the connection. */
  toldToLeave(worker: WorkerId): void;
  /** Requests being read, held or answered. */
  open(delta: 1 | -1): void;
}
