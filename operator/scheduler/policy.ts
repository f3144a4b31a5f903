/** The numbers that the scheduler decides by. Times are milliseconds, points are those of a job's priority. */
export interface Policy {
  /** Priorities are clipped to 0 … this, and to the tenant's own limit. */
  maxPriority: number;
  /** What a waiting job gains on one that came later. */
  ageingPointsPerMinute: number;
  /** Ageing ends here. More than `maxPriority + dependentsCap`, so that a job that has aged in full outranks any new one. */
  ageingCap: number;
  /** For each job that waits for this one, directly or through others. */
  dependentPoints: number;
  dependentsCap: number;
  /** How many points a job must be ahead of a running one to have it suspended, or to grow at its expense. */
  preemptMargin: number;
  /** How much earlier a hurried job must be due than another one to take workers from it. */
  dueMarginMs: number;
  /** A started job is not suspended before that. */
  minRuntimeMs: number;
  /** So many minimum runtimes pass before it is suspended for another tenant's share alone: what is lent is lent for a while. */
  loanTerm: number;
  /** It runs so many times as long as it waited before it is suspended for priority or a share: nobody waits much longer than it runs. */
  waitTerm: number;
  /** A worker beyond its job's minimum is not taken before that. */
  minWorkerRuntimeMs: number;
  /** A job that lost workers to another one does not get them back before that, so that nothing flaps. */
  cooldownMs: number;
  /** A job is hurried when its work, at the measured rate, takes more than the time left divided by this. */
  hurryAt: number;
  /** It is hurried no longer when its work takes less than the time left divided by this. Apart by more than noise in rates. */
  relaxAt: number;
  /** How many jobs may get room at the expense of others in one round; the next round goes on. */
  preemptionsPerRound: number;
  /** Part of the time from the creation to the deadline that a job without a measured rate is taken to need. */
  unknownWork: number;
  /** Workers of one job that may be made beyond the known capacity, for a cluster autoscaler to see; 0 for none. */
  pendingPerJob: number;
  /** Only for jobs that have waited, or not grown, for this long: until then room may come by itself. */
  pendingAfterMs: number;
  /** Of all jobs together. The first job that asks gets its workers whatever their number. */
  pendingInAll: number;
  /** A worker that is ending is counted as gone until it has taken this long. */
  endingGraceMs: number;
}

export const defaultPolicy: Policy = {
  maxPriority: 1_000,
  ageingPointsPerMinute: 20,
  ageingCap: 1_500,
  dependentPoints: 25,
  dependentsCap: 250,
  preemptMargin: 200,
  dueMarginMs: 300_000,
  minRuntimeMs: 120_000,
  loanTerm: 5,
  waitTerm: 3,
  minWorkerRuntimeMs: 30_000,
  cooldownMs: 30_000,
  preemptionsPerRound: 100,
  hurryAt: 1.5,
  relaxAt: 2.5,
  unknownWork: 1 / 2,
  pendingPerJob: 0,
  pendingAfterMs: 10_000,
  pendingInAll: 16,
  endingGraceMs: 60_000,
};
