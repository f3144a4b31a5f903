/** Sessions of one model, each on a thread of its own, and the threads that each of them uses for one run. */
export interface PoolSize {
  sessions: number;
  threads: number;
}

/** The operator takes syncs of workers that hold up to 64 leases, one more than sessions. */
const maxSessions = 63;
/** What a worker takes without a model, and what a session takes beside the weights. */
const processBytes = 160 * 1024 * 1024;
const sessionBytes = 32 * 1024 * 1024;

/**
 * A session per CPU with one thread each is fastest and makes sums come out in one order, but each has the weights for
 * itself: as many as leave a quarter of the memory for batches; the CPUs that are left over help within a run.
 */
export function poolSize({ cpus, modelBytes, memoryBytes }: { cpus: number; modelBytes: number; memoryBytes?: number | undefined }): PoolSize {
  const room = memoryBytes === undefined ? cpus : Math.floor((memoryBytes * 0.75 - processBytes) / (modelBytes + sessionBytes));
  const sessions = Math.max(1, Math.min(cpus, room, maxSessions));
  return { sessions, threads: Math.max(1, Math.floor(cpus / sessions)) };
}
