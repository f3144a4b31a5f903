import { readFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { SYNC_PATH, type SyncRequest, type SyncResponse } from './contract.ts';

/** The answer was not a 200 with a sync response; `status` is 0 when it was a 200 that made no sense. */
export class SyncRefused extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

export interface SyncTarget {
  /** Base URL; http or https. */
  url: string;
  /** PEM of the CA that the server's certificate must come from. */
  ca?: string;
  /** Read anew for each call, because the kubelet renews it. */
  tokenFile?: string;
}

const maxAnswerBytes = 4 * 1024 * 1024;

/** One call of `sync`. Throws SyncRefused, or what made the connection fail, or the signal's reason. */
export class SyncClient {
  readonly #target: SyncTarget;
  readonly #url: URL;
  readonly #agent: http.Agent;

  constructor(target: SyncTarget) {
    this.#target = target;
    this.#url = new URL(SYNC_PATH, target.url);
    const options = { keepAlive: true, maxSockets: 4, scheduling: 'lifo' as const };
    this.#agent =
      this.#url.protocol === 'https:'
        ? new https.Agent({ ...options, ...(target.ca === undefined ? {} : { ca: target.ca }) })
        : new http.Agent(options);
  }

  async call(request: SyncRequest, signal: AbortSignal): Promise<SyncResponse> {
    const { tokenFile } = this.#target;
    const token = tokenFile === undefined ? undefined : (await readFile(tokenFile, { encoding: 'utf8', signal })).trim();
    const body = Buffer.from(JSON.stringify(request));
    const { status, text } = await this.#post(body, token, signal);
    if (status !== 200) throw new SyncRefused(status, `the sync server answered ${status}: ${text.slice(0, 300).trim()}`);
    try {
      return asSyncResponse(JSON.parse(text));
    } catch {
      throw new SyncRefused(0, 'the sync server answered something that is no sync response');
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #post(body: Buffer, token: string | undefined, signal: AbortSignal): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const send = this.#url.protocol === 'https:' ? https.request : http.request;
      const request = send(this.#url, {
        method: 'POST',
        agent: this.#agent,
        signal,
        headers: {
          'content-type': 'application/json',
          'content-length': body.length,
          accept: 'application/json',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
      });
      request.on('error', reject);
      request.on('response', (response) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        response.on('data', (part: Buffer) => {
          parts.push(part);
          bytes += part.length;
          if (bytes > maxAnswerBytes) response.destroy(new SyncRefused(0, `the sync server answered more than ${maxAnswerBytes} bytes`));
        });
        response.on('error', reject);
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text: Buffer.concat(parts).toString('utf8') }));
      });
      request.end(body);
    });
  }
}

function asSyncResponse(value: unknown): SyncResponse {
  const answer = value as Partial<SyncResponse> | null;
  const verdicts: readonly unknown[] = ['work', 'leave', 'done', 'retired'] satisfies SyncResponse['verdict'][];
  if (typeof answer?.term !== 'number' || !Array.isArray(answer.leases) || !verdicts.includes(answer.verdict)) throw new TypeError('no sync response');
  return answer as SyncResponse;
}
