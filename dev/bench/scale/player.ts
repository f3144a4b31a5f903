/**
 * Speaks for many workers whose pods do not really run: each holds a sync open and reports, once a second, a thousand items
 * more of the shard that it was given. A process of its own, so that what it needs is not taken for the bench's: reads who they
 * are from standard input, a JSON object per line, and writes what happened to them to standard output.
 *
 *   node player.ts URL ADDRESS CA
 */
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { createInterface } from 'node:readline';
import { type Lease, leaseKey, SYNC_PATH, type SyncRequest, type SyncResponse } from '../../../inference-pod/contract.ts';

interface Player {
  job: string;
  slot: number;
  attempt: number;
  token: string;
}

const SHARDS = 500;
const SHARD_ITEMS = 100_000;
const STEP = 1_000;
const [url = '', address = '', caFile = ''] = process.argv.slice(2);
const { hostname: servername, port } = new URL(url);
const agent = new https.Agent({ keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, ca: readFileSync(caFile, 'utf8') });

function post(body: unknown, token: string): Promise<{ status: number; answer: SyncResponse }> {
  return new Promise((resolve, reject) => {
    const text = JSON.stringify(body);
    const request = https.request({ host: address, servername, port, path: SYNC_PATH, method: 'POST', agent, timeout: 20_000, headers: { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text), authorization: `Bearer ${token}` } }, (response) => {
      let answer = '';
      response.setEncoding('utf8').on('data', (part: string) => { answer += part; }).on('end', () => {
        try {
          resolve({ status: response.statusCode ?? 0, answer: JSON.parse(answer) as SyncResponse });
        } catch (error) {
          reject(error);
        }
      }).on('error', reject);
    });
    request.on('timeout', () => request.destroy(new Error('no answer')));
    request.on('error', reject);
    request.end(text);
  });
}

async function play({ job, slot, attempt, token }: Player): Promise<void> {
  const worker = { job, slot, attempt, incarnation: `${Math.random()}` };
  let [seq, term, draining, ended] = [0, 0, false, false];
  const held = new Map<string, { lease: Lease; items: number }>();
  const say = (what: string, more: object = {}): void => console.log(JSON.stringify({ what, job, slot, ...more }));

  const report = ({ lease, items }: { lease: Lease; items: number }): SyncRequest['leases'][number] => ({
    lease,
    state: draining ? 'released' : lease.kind === 'plan' || items >= SHARD_ITEMS ? 'done' : 'running',
    items: { succeeded: items, failed: 0 },
    bytes: { done: items, total: SHARD_ITEMS },
    ...(lease.kind === 'plan' ? { plan: { shards: SHARDS, items: SHARDS * SHARD_ITEMS, exact: true, bytes: SHARDS * SHARD_ITEMS, files: 1 } } : {}),
  });

  const sync = async (): Promise<void> => {
    seq += 1;
    const body: SyncRequest = {
      protocol: 1, worker, seq, term, draining, capacity: 1, leases: [...held.values()].map(report),
      load: { itemsPerSecond: held.size > 0 ? STEP : 0, cpuSeconds: seq, rssBytes: 1e8 },
    };
    const { status, answer } = await post(body, token);
    if (status !== 200) throw new Error(`${status} ${JSON.stringify(answer)}`);
    if (answer.superseded || ended) return;
    term = Math.max(term, answer.term);
    if (answer.verdict === 'leave' && !draining) {
      draining = true;
      say('leave');
      return;
    }
    const now = new Set(answer.leases.map(leaseKey));
    for (const name of held.keys()) if (!now.has(name)) held.delete(name);
    for (const lease of answer.leases) if (!held.has(leaseKey(lease))) held.set(leaseKey(lease), { lease, items: 0 });
    if (answer.verdict === 'done' || answer.verdict === 'retired' || (draining && held.size === 0)) ended = true;
  };

  say('begun');
  const progress = setInterval(() => {
    if (held.size === 0 || draining) return;
    for (const one of held.values()) one.items = Math.min(SHARD_ITEMS, one.items + STEP);
    sync().catch(() => undefined);
  }, 1_000);
  while (!ended) {
    try {
      await sync();
    } catch (error) {
      say('failed', { why: String(error).slice(0, 200) });
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      if (/ 40[134] /.test(` ${String(error).replace('Error: ', '')}`)) break;
    }
  }
  clearInterval(progress);
  say('ended');
}

const lines = createInterface({ input: process.stdin });
lines.on('line', (line) => void play(JSON.parse(line) as Player));
lines.on('close', () => process.exit(0));
console.log(JSON.stringify({ what: 'ready' }));
