import 'reflect-metadata';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as x509 from '@peculiar/x509';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SYNC_PATH, type SyncRequest, type SyncResponse } from '../../../inference-pod/contract.ts';
import { SyncClient } from '../../../inference-pod/sync-client.ts';

const request = { protocol: 1, seq: 1 } as SyncRequest;
const answer = { term: 3, leases: [], pause: false, verdict: 'work' };

let server: Server;
let certificate: string;
let url: string;
let seen: { path: string | undefined; authorization: string | undefined; body: string }[];
let reply: { status: number; body: string };

async function selfSigned(): Promise<{ cert: string; key: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const keys = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const made = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=sync',
    notBefore: new Date(Date.now() - 60_000),
    notAfter: new Date(Date.now() + 3_600_000),
    signingAlgorithm: { ...algorithm, hash: 'SHA-256' },
    keys,
    extensions: [new x509.BasicConstraintsExtension(true), new x509.SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }])],
  });
  const pkcs8 = Buffer.from(await crypto.subtle.exportKey('pkcs8', keys.privateKey)).toString('base64');
  return { cert: made.toString('pem'), key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n` };
}

beforeEach(async () => {
  const made = await selfSigned();
  certificate = made.cert;
  seen = [];
  reply = { status: 200, body: JSON.stringify(answer) };
  server = createServer(made, (incoming, response) => {
    let body = '';
    incoming.on('data', (part: Buffer) => {
      body += part.toString('utf8');
    });
    incoming.on('end', () => {
      seen.push({ path: incoming.url, authorization: incoming.headers.authorization, body });
      response.writeHead(reply.status).end(reply.body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, resolve));
  url = `https://localhost:${(server.address() as AddressInfo).port}`;
});

afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const soon = (): AbortSignal => AbortSignal.timeout(5_000);

test('presents the token that is in the file now, to the server that the CA vouches for', async () => {
  const tokenFile = join(mkdtempSync(join(tmpdir(), 'millrace-token-')), 'token');
  const client = new SyncClient({ url, ca: certificate, tokenFile });
  writeFileSync(tokenFile, 'first\n');
  expect(await client.call(request, soon())).toEqual(answer);
  writeFileSync(tokenFile, 'second\n');
  await client.call(request, soon());
  expect(seen.map(({ authorization }) => authorization)).toEqual(['Bearer first', 'Bearer second']);
  expect(seen[0]).toMatchObject({ path: SYNC_PATH, body: JSON.stringify(request) });
  client.close();
});

test('says nothing to a server that another CA vouches for', async () => {
  const client = new SyncClient({ url, ca: (await selfSigned()).cert });
  await expect(client.call(request, soon())).rejects.toThrow(/self-signed|signature|certificate/i);
  expect(seen).toEqual([]);
});

test('takes every verdict that the contract names', async () => {
  const client = new SyncClient({ url, ca: certificate });
  for (const verdict of ['work', 'leave', 'done', 'retired'] satisfies SyncResponse['verdict'][]) {
    reply = { status: 200, body: JSON.stringify({ ...answer, verdict }) };
    expect(await client.call(request, soon())).toMatchObject({ verdict });
  }
  client.close();
});

test('follows no redirect and takes no nonsense for an answer', async () => {
  const client = new SyncClient({ url, ca: certificate });
  reply = { status: 302, body: 'elsewhere' };
  await expect(client.call(request, soon())).rejects.toMatchObject({ status: 302, message: 'the sync server answered 302: elsewhere' });
  for (const body of ['', 'null', '[]', '{"term":1}', '{"term":1,"leases":[],"verdict":"dance"}']) {
    reply = { status: 200, body };
    await expect(client.call(request, soon())).rejects.toMatchObject({ status: 0 });
  }
  client.close();
});
