import { createSocket, type SocketType } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

/*
 * The program at both ends of a connection that is tried. It runs in pods of the worker image, in namespaces under Pod
 * Security `restricted`, and comes to them as text (`node --eval`), so it must import nothing of this repository.
 *
 *   serve NAME LISTEN   tells NAME to every TCP connection and UDP datagram; LISTEN is {"tcp": [port…], "udp": [port…], "addresses"?}
 *   probe               reads lines {"id", "timeoutMs", "probes": [Probe…]} and answers each with {"id", "found": [Found…]}
 */

/** One connection to try. */
export interface Probe {
  protocol: 'TCP' | 'UDP';
  /** An address, or a name that is looked up first. */
  host: string;
  port: number;
  /** Own address to try from; any when left out. */
  from?: string;
  /** What to send first, in base64. */
  say?: string;
  /** Reached only when it says something; otherwise a TCP connection is enough. Always so with UDP. */
  listen?: boolean;
}

/** `heard` in base64. `failed` means that nothing was learned: the probe itself went wrong. */
export type Found = { open: true; heard?: string } | { open: false; how: 'timeout' | 'refused' } | { failed: string };

interface Listen {
  tcp: number[];
  udp: number[];
  /** All when left out. An answer to a datagram comes from the address that was asked only when that is named here. */
  addresses?: string[];
}

/** An error that tells that packets came back with a no. */
const REFUSALS: ReadonlySet<string> = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ECONNRESET', 'EPERM', 'EACCES']);

function outcome(error: NodeJS.ErrnoException): Found {
  const code = error.code ?? error.message;
  if (code === 'ETIMEDOUT') return { open: false, how: 'timeout' };
  return REFUSALS.has(code) ? { open: false, how: 'refused' } : { failed: code };
}

function serve(name: string, { tcp, udp, addresses = ['0.0.0.0'] }: Listen): void {
  const all = (ports: number[]): { port: number; address: string }[] => ports.flatMap((port) => addresses.map((address) => ({ port, address })));
  for (const { port, address } of all(tcp)) {
    createServer((socket) => {
      socket.on('error', () => socket.destroy());
      socket.end(name);
    }).listen(port, address);
  }
  for (const { port, address } of all(udp)) {
    const socket = createSocket('udp4');
    socket.on('message', (_said, { port: from, address: sender }) => socket.send(name, from, sender));
    socket.on('error', () => {}); // an answer that found nobody
    socket.bind(port, address);
  }
}

function tryTcp(address: string, { port, from, say, listen }: Probe, timeoutMs: number): Promise<Found> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, ...(from === undefined ? {} : { localAddress: from }) });
    const tell = (found: Found): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(found);
    };
    const timer = setTimeout(() => tell({ open: false, how: 'timeout' }), timeoutMs);
    socket.on('error', (error) => tell(outcome(error)));
    socket.on('data', (heard) => tell({ open: true, heard: heard.toString('base64') }));
    socket.on('close', () => tell({ open: false, how: 'refused' })); // without a word
    socket.on('connect', () => {
      if (say !== undefined) socket.write(Buffer.from(say, 'base64'));
      if (listen !== true) tell({ open: true });
    });
  });
}

function tryUdp(address: string, { port, from, say = '' }: Probe, timeoutMs: number): Promise<Found> {
  return new Promise((resolve) => {
    const type: SocketType = address.includes(':') ? 'udp6' : 'udp4';
    const socket = createSocket(type);
    const tell = (found: Found): void => {
      clearTimeout(timer);
      clearInterval(again);
      socket.close();
      resolve(found);
    };
    const timer = setTimeout(() => tell({ open: false, how: 'timeout' }), timeoutMs);
    socket.on('error', (error) => tell(outcome(error)));
    socket.on('message', (heard) => tell({ open: true, heard: heard.toString('base64') }));
    const send = (): void => socket.send(Buffer.from(say, 'base64'), port, address, (error) => error && tell(outcome(error)));
    const again = setInterval(send, timeoutMs / 3); // one lost datagram is not a wall
    socket.bind(0, from, send);
  });
}

async function attempt(probe: Probe, timeoutMs: number): Promise<Found> {
  const named = /[a-z]/i.test(probe.host) && !probe.host.includes(':');
  const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), timeoutMs).unref());
  try {
    const address = named ? (await Promise.race([lookup(probe.host, 4), late]))?.address : probe.host;
    if (address === undefined) return { open: false, how: 'timeout' };
    return await (probe.protocol === 'TCP' ? tryTcp(address, probe, timeoutMs) : tryUdp(address, probe, timeoutMs));
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    return code === 'EAI_AGAIN' || code === 'ENOTFOUND' ? { open: false, how: 'timeout' } : { failed: String(error) };
  }
}

async function answer(line: string): Promise<void> {
  const { id, timeoutMs, probes } = JSON.parse(line) as { id: number; timeoutMs: number; probes: Probe[] };
  const found = await Promise.all(probes.map((probe) => attempt(probe, timeoutMs)));
  process.stdout.write(`${JSON.stringify({ id, found })}\n`);
}

const [, mode, name = '', listen = ''] = process.argv;
if (mode === 'serve') {
  serve(name, JSON.parse(listen) as Listen);
  setInterval(() => {}, 60_000); // stays without a port, too
  process.on('SIGTERM', () => process.exit(0));
} else if (mode === 'probe') {
  createInterface({ input: process.stdin }).on('line', (line) => void answer(line));
}
