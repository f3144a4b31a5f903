/** What a worker process serves when it is started as `main.ts serve`; see docs/serving.md. Fields with `?` have defaults. */
export interface ServeSpec {
  /** `name` and `version` are those of the URL; `path` is relative to the absolute path `root`. */
  model: { root: string; path: string; name: string; version?: string; task: 'tensors'; accelerator: 'auto' | 'cuda' | 'cpu' };
  /** `maxSize`: rows of one run. `windowMs`: how long a request may be passed by full batches of other shapes. */
  batching?: { maxSize?: number; windowMs?: number; timeoutSeconds?: number };
  /** What may wait; beyond it requests are refused with 429. `maxBytes` counts bodies, also those that are still being read. */
  queue?: { maxRequests?: number; maxBytes?: number };
  /** A larger body is refused with 413. */
  maxRequestBytes?: number;
  /** A client that takes longer to send a request is cut off. */
  receiveSeconds?: number;
  /** Answers that are kept for requests that come again with the same id. */
  answers?: { maxCount?: number; maxBytes?: number; seconds?: number };
  /** After SIGTERM requests that wait or run have this long. */
  drainSeconds?: number;
}
