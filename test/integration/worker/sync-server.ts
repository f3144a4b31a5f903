import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type FinishResult,
  type Lease,
  leaseKey,
  type PlanResult,
  type SyncRequest,
  type SyncResponse,
} from '../../../inference-pod/contract.ts';

/**
 * The least that can lead workers through a job: plan, shards, finish, done. It believes every report, gives each shard
 * to one worker, and takes leases from workers that are `lost`.
 */
export class SyncServer {
  readonly requests: SyncRequest[] = [];
  plan: PlanResult | undefined;
  finish: FinishResult | undefined;
  fatal: SyncRequest['fatal'];
  paused = false;
  /** Answers that stand in for the ledger's. */
  override: ((request: SyncRequest) => Partial<SyncResponse> | undefined) | undefined;
  /** HTTP status instead of an answer. */
  refuse = 0;
  term = 1;
  readonly done = new Map<number, { succeeded: number; failed: number }>();
  readonly #owners = new Map<string, string>();
  readonly #waiting = new Set<() => void>();
  readonly #server = createServer((request, response) => {
    this.#handle(request).then(
      ({ status, body }) => response.writeHead(status, { 'content-type': 'application/json' }).end(body),
      (error: unknown) => response.writeHead(500).end(String(error)),
    );
  });

  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** The worker is gone: its leases are free. */
  lose(incarnation: string | undefined): void {
    for (const [key, owner] of this.#owners) if (owner === incarnation || incarnation === undefined) this.#owners.delete(key);
    this.wake();
  }

  wake(): void {
    for (const resolve of this.#waiting) resolve();
    this.#waiting.clear();
  }

  /** Resolves when `condition` holds; looked at after every request. */
  async until(condition: () => boolean, withinMs = 20_000): Promise<void> {
    const deadline = Date.now() + withinMs;
    while (!condition()) {
      if (Date.now() > deadline) throw new Error(`not within ${withinMs} ms; last request ${JSON.stringify(this.requests.at(-1))}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async #handle(incoming: IncomingMessage): Promise<{ status: number; body: string }> {
    const parts: Buffer[] = [];
    for await (const part of incoming) parts.push(part as Buffer);
    if (this.refuse) return { status: this.refuse, body: 'refused' };
    const request = JSON.parse(Buffer.concat(parts).toString('utf8')) as SyncRequest;
    this.requests.push(request);
    const before = request.leases.map(({ lease }) => leaseKey(lease)).sort().join();
    let answer = this.#answer(request);
    const news = (): boolean => answer.verdict !== 'work' || answer.pause !== this.paused || answer.leases.map(leaseKey).sort().join() !== before;
    const deadline = Date.now() + 1_000;
    while (!news() && Date.now() < deadline && !incoming.destroyed) {
      await new Promise<void>((resolve) => {
        this.#waiting.add(resolve);
        setTimeout(resolve, 100);
      });
      answer = this.#answer(request);
    }
    return { status: 200, body: JSON.stringify(answer) };
  }

  #answer(request: SyncRequest): SyncResponse {
    const me = request.worker.incarnation;
    this.fatal ??= request.fatal;
    for (const { lease, state, items, plan, finish } of request.leases) {
      if (state === 'done') {
        if (lease.kind === 'shard') this.done.set(lease.shard, items);
        if (plan) this.plan = plan;
        if (finish) this.finish = finish;
      }
      if (state !== 'running') this.#owners.delete(leaseKey(lease));
      else if (!this.#owners.has(leaseKey(lease))) this.#owners.set(leaseKey(lease), me);
    }
    const open = this.#open();
    const mine = open.filter((lease) => this.#owners.get(leaseKey(lease)) === me);
    for (const lease of open) {
      if (mine.length >= request.capacity) break;
      if (this.#owners.has(leaseKey(lease))) continue;
      this.#owners.set(leaseKey(lease), me);
      mine.push(lease);
    }
    const answer: SyncResponse = { term: this.term, leases: mine, pause: this.paused, verdict: this.finish ? 'done' : 'work' };
    return { ...answer, ...this.override?.(request) };
  }

  #open(): Lease[] {
    if (!this.plan) return [{ kind: 'plan' }];
    const shards = Array.from({ length: this.plan.shards }, (_, shard) => shard).filter((shard) => !this.done.has(shard));
    if (shards.length > 0) return shards.map((shard) => ({ kind: 'shard', shard, generation: 0 }));
    if (this.finish) return [];
    return [{ kind: 'finish', generations: this.plan.shards === 0 ? [] : [{ shards: this.plan.shards === 1 ? '0' : `0-${this.plan.shards - 1}`, generation: 0 }] }];
  }
}
