import { delayFor, pause } from '../../kit/backoff.ts';
import type { Clock } from '../../kit/clock.ts';
import type { Log } from '../../kit/log.ts';
import type { Registry } from '../../kit/metrics.ts';
import { gauge } from '../../kit/metrics.ts';
import type { KubeClient } from './client.ts';
import { KubeError, isAlreadyExists, isConflict, isNotFound } from './errors.ts';
import { kinds } from './kinds.ts';
import { microTime } from './micro-time.ts';
import type { KubeObject, Stored } from './object.ts';

export interface LeaseSpec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  acquireTime?: string;
  renewTime?: string;
  leaseTransitions?: number;
}

export interface Lease extends KubeObject {
  spec?: LeaseSpec;
}

/** As Kubernetes' own components have them. A leader stops `leaseMs` − `renewDeadlineMs` before another may begin. */
export interface LeaseTimings {
  leaseMs: number;
  renewDeadlineMs: number;
  retryMs: number;
}

export const leaseTimings: LeaseTimings = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000 };

/** A version of the Lease and when, by our own monotonic clock, we first saw it. Clocks of other machines are never compared. */
export interface Observation {
  lease: Stored<Lease>;
  seenAt: number;
}

/** Keeps the time of the first sight while the version stays the same. */
export function observe(known: Observation | undefined, lease: Stored<Lease>, now: number): Observation {
  const same =
    known !== undefined &&
    known.lease.metadata.uid === lease.metadata.uid &&
    known.lease.metadata.resourceVersion === lease.metadata.resourceVersion;
  return same ? known : { lease, seenAt: now };
}

/**
 * Whether a candidate that is not leading may take the Lease: nobody holds it, or its holder has been silent for as long
 * as that holder itself promised. A Lease that carries our own identity is treated like anyone's: identities are per
 * process, and what this process lost it must not take back early.
 */
export function mayAcquire(observation: Observation, now: number, leaseMs: number): boolean {
  const { holderIdentity, leaseDurationSeconds } = observation.lease.spec ?? {};
  if (holderIdentity === undefined || holderIdentity === '') return true;
  return now - observation.seenAt > Math.max(leaseMs, (leaseDurationSeconds ?? 0) * 1000);
}

/** The Lease as its next holder writes it; the resourceVersion that it keeps makes the write a compare-and-swap. */
export function held(lease: Lease, identity: string, wall: number, leaseMs: number, acquire: boolean): Lease {
  const old = lease.spec ?? {};
  const time = microTime(wall);
  return {
    ...lease,
    spec: {
      ...old,
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(leaseMs / 1000),
      acquireTime: acquire ? time : (old.acquireTime ?? time),
      renewTime: time,
      leaseTransitions: acquire ? (old.leaseTransitions ?? 0) + 1 : (old.leaseTransitions ?? 0),
    },
  };
}

/** The Lease as its holder leaves it, so that the next one need not wait. */
export function released(lease: Lease, wall: number): Lease {
  const time = microTime(wall);
  const spec = { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1, acquireTime: time, renewTime: time };
  return { ...lease, spec };
}

const TRANSITIONS = 2 ** 20;

/**
 * A number that grows with every leadership: the Lease's transitions, above them the second in which the Lease was made,
 * so that it grows on when someone deletes the Lease and it is made anew. Stays a safe integer.
 */
export function termOf(lease: Stored<Lease>): number {
  const created = Date.parse(lease.metadata.creationTimestamp ?? '');
  const seconds = Number.isNaN(created) ? 0 : Math.floor(created / 1000);
  return seconds * TRANSITIONS + ((lease.spec?.leaseTransitions ?? 0) % TRANSITIONS);
}

export interface Leadership {
  readonly term: number;
  /** Aborts when the leadership ends, for whatever reason: every write made as leader has to carry it. */
  readonly signal: AbortSignal;
  /** Looks at the clock: false as soon as the renew deadline has passed, even if a blocked event loop has kept the timer from firing. */
  held(): boolean;
}

export interface LeaderElectorOptions {
  /** Its own client, without rate limit and retries, so that no other traffic can delay a renewal. */
  client: Pick<KubeClient, 'get' | 'create' | 'replace'>;
  namespace: string;
  name: string;
  /** Unique per process, e.g. `<pod name>_<random>`. */
  identity: string;
  clock: Clock;
  log: Log;
  registry: Registry;
  timings?: LeaseTimings;
  random?: () => number;
  /** Called with each leadership. Must not throw. */
  onStarted(leadership: Leadership): void;
  /** Called after `signal` was aborted. 'lost': could not renew in time, or someone else has the Lease. */
  onStopped?(why: 'lost' | 'released'): void;
}

/**
 * Leader election on a Lease.
 *
 * Guarantees: two leaders never overlap as long as monotonic clocks run at about the same rate: a leader counts from
 * before its last successful renewal was sent and gives up after the renew deadline, a contender counts from when it
 * first saw that renewal and waits for the full lease. Losing it does not end the election; a process that cannot start
 * again from nothing should exit.
 */
export class LeaderElector {
  readonly #options: LeaderElectorOptions;
  readonly #timings: LeaseTimings;
  readonly #status;
  readonly #stop = new AbortController();
  #running: Promise<void> | undefined;
  #observed: Observation | undefined;
  #leading: { control: AbortController; renewedAt: number; timer: NodeJS.Timeout } | undefined;

  constructor(options: LeaderElectorOptions) {
    this.#options = options;
    this.#timings = options.timings ?? leaseTimings;
    this.#status = gauge(options.registry, {
      name: 'leader_election_master_status',
      help: 'Whether this process holds the Lease: 1 is leader, 0 is not.',
      labels: ['name'],
    }).labels({ name: options.name });
    this.#status.set(0);
  }

  get leading(): boolean {
    return this.#leading !== undefined && this.#isHeld();
  }

  /** Who holds the Lease, as last seen. */
  get holder(): string | undefined {
    return this.#observed?.lease.spec?.holderIdentity;
  }

  /** Starts to contend; ends with `close`. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** Ends the leadership and gives the Lease to the next. Call it when all work of the leader has ended: renewals go on until then. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    if (this.#leading === undefined) return;
    this.#end('released');
    const lease = this.#observed?.lease;
    if (lease === undefined) return;
    try {
      await this.#options.client.replace<Lease>(kinds.Lease, released(lease, this.#options.clock.now()), {
        timeoutMs: 5_000,
      });
    } catch (error) {
      this.#options.log.warn(
        { err: message(error) },
        'the lease was not released; the next leader waits until it runs out',
      );
    }
  }

  async #run(): Promise<void> {
    const { retryMs } = this.#timings;
    const jitter = { baseMs: retryMs, capMs: retryMs, jitter: 0.2 };
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        if (this.#leading === undefined) await this.#tryAcquire();
        else await this.#renew();
      } catch (error) {
        if (signal.aborted) return;
        const level = this.#leading === undefined ? 'debug' : 'warn';
        this.#options.log[level]({ err: message(error) }, 'the lease could not be read or written');
      }
      await pause(delayFor(0, jitter, this.#options.random), signal);
    }
  }

  async #tryAcquire(): Promise<void> {
    const { client, clock, identity, namespace, name } = this.#options;
    const call = { signal: this.#stop.signal, timeoutMs: this.#callLimit() };
    const { leaseMs } = this.#timings;
    let lease: Stored<Lease>;
    try {
      lease = await client.get<Lease>(kinds.Lease, { namespace, name }, call);
    } catch (error) {
      if (!isNotFound(error)) throw error;
      const fresh: Lease = {
        apiVersion: kinds.Lease.apiVersion,
        kind: kinds.Lease.kind,
        metadata: { namespace, name },
      };
      const sentAt = clock.monotonic();
      try {
        this.#begin(
          await client.create<Lease>(kinds.Lease, held(fresh, identity, clock.now(), leaseMs, true), call),
          sentAt,
        );
      } catch (failure) {
        if (!isAlreadyExists(failure)) throw failure;
      }
      return;
    }
    this.#observed = observe(this.#observed, lease, clock.monotonic());
    if (!mayAcquire(this.#observed, clock.monotonic(), leaseMs)) return;
    const sentAt = clock.monotonic();
    try {
      this.#begin(
        await client.replace<Lease>(kinds.Lease, held(lease, identity, clock.now(), leaseMs, true), call),
        sentAt,
      );
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error;
    }
  }

  async #renew(): Promise<void> {
    const { client, clock, identity, namespace, name } = this.#options;
    const leading = this.#leading;
    const lease = this.#observed?.lease;
    if (leading === undefined || lease === undefined) return;
    const call = { signal: AbortSignal.any([this.#stop.signal, leading.control.signal]), timeoutMs: this.#callLimit() };
    const write = (from: Stored<Lease>) =>
      client.replace<Lease>(kinds.Lease, held(from, identity, clock.now(), this.#timings.leaseMs, false), call);
    let sentAt = clock.monotonic();
    try {
      this.#renewed(await write(lease), sentAt);
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error;
      // Our own write whose answer was lost, a label that someone set, or another holder.
      let current: Stored<Lease>;
      try {
        current = await client.get<Lease>(kinds.Lease, { namespace, name }, call);
      } catch (failure) {
        if (isNotFound(failure)) this.#end('lost');
        throw failure;
      }
      if (current.metadata.uid !== lease.metadata.uid || current.spec?.holderIdentity !== identity) {
        this.#observed = observe(this.#observed, current, clock.monotonic());
        this.#end('lost');
        return;
      }
      sentAt = clock.monotonic();
      this.#renewed(await write(current), sentAt);
    }
  }

  /** Leaves room for several tries before the deadline. */
  #callLimit(): number {
    return this.#timings.renewDeadlineMs / 2;
  }

  #begin(lease: Stored<Lease>, sentAt: number): void {
    const { clock, log, name } = this.#options;
    this.#observed = { lease, seenAt: clock.monotonic() };
    const control = new AbortController();
    const term = termOf(lease);
    this.#leading = { control, renewedAt: sentAt, timer: setTimeout(() => this.#expire(), this.#remaining(sentAt)) };
    this.#status.set(1);
    log.info({ lease: name, term }, 'became leader');
    const leading = this.#leading;
    this.#options.onStarted({ term, signal: control.signal, held: () => this.#leading === leading && this.#isHeld() });
  }

  #renewed(lease: Stored<Lease>, sentAt: number): void {
    const leading = this.#leading;
    if (leading === undefined) return;
    this.#observed = { lease, seenAt: this.#options.clock.monotonic() };
    leading.renewedAt = sentAt;
    clearTimeout(leading.timer);
    leading.timer = setTimeout(() => this.#expire(), this.#remaining(sentAt));
  }

  #remaining(renewedAt: number): number {
    return Math.max(0, renewedAt + this.#timings.renewDeadlineMs - this.#options.clock.monotonic());
  }

  #isHeld(): boolean {
    return this.#leading !== undefined && this.#remaining(this.#leading.renewedAt) > 0;
  }

  /** Timers may fire a little early. */
  #expire(): void {
    const leading = this.#leading;
    if (leading === undefined) return;
    if (this.#isHeld()) leading.timer = setTimeout(() => this.#expire(), Math.ceil(this.#remaining(leading.renewedAt)));
    else this.#end('lost');
  }

  #end(why: 'lost' | 'released'): void {
    const leading = this.#leading;
    if (leading === undefined) return;
    this.#leading = undefined;
    clearTimeout(leading.timer);
    this.#status.set(0);
    leading.control.abort(new KubeError({ code: 0, reason: 'NotLeader', message: `the leadership was ${why}` }));
    this.#options.log[why === 'lost' ? 'warn' : 'info']({ lease: this.#options.name }, `leadership ${why}`);
    this.#options.onStopped?.(why);
  }
}

const message = (error: unknown): string => (error instanceof Error ? error.message : String(error));
