import { load } from 'js-yaml';
import { releaseNamespace } from '../../../../dev/install.ts';
import { type ApiObject, paths } from '../api.ts';
import type { Bench } from '../bench.ts';
import { GaveUp, until } from '../until.ts';
import { podWith } from './pods.ts';

/** Real traffic: pods that listen and pods that connect, of the image that the operator runs workers from. */
export const port = 8080;

const server = `require('node:http').createServer((_, answer) => answer.end('here')).listen(${port})`;

/** Connects to each target of its environment for up to 4 s, and prints what came of it as JSON. */
const client = `
const { connect } = require('node:net');
const attempt = ([name, host]) => new Promise((resolve) => {
  const socket = connect({ host, port: ${port}, timeout: 4000 });
  const end = (result) => { socket.destroy(); resolve([name, result]); };
  socket.on('connect', () => end('connected')).on('timeout', () => end('no answer')).on('error', ({ code }) => end(code));
});
Promise.all(Object.entries(JSON.parse(process.env.TARGETS)).map(attempt)).then((results) => console.log(JSON.stringify(Object.fromEntries(results))));
`;

interface Pod extends ApiObject {
  status: { phase: string; podIP?: string };
}

async function run(bench: Bench, namespace: string, name: string, script: string, env: Record<string, string>): Promise<void> {
  const config = await bench.api.get<{ data: { 'operator.yaml': string } }>(paths.core(releaseNamespace, 'configmaps', 'millrace'));
  const { workerImage } = load(config?.data['operator.yaml'] ?? '') as { workerImage: string };
  const container = { image: workerImage, imagePullPolicy: 'IfNotPresent', command: ['node', '-e', script], env: Object.entries(env).map(([key, value]) => ({ name: key, value })) };
  const resources = { requests: { cpu: '10m', memory: '64Mi' }, limits: { cpu: '500m', memory: '256Mi' } };
  await bench.kubectl(['apply', '--namespace', namespace, '-f', '-'], podWith(name, { pod: { restartPolicy: 'Never', terminationGracePeriodSeconds: 0 }, container: { ...container, resources } }));
}

const phaseOf = (bench: Bench, namespace: string, name: string, phase: string): Promise<Pod> =>
  until(`pod ${namespace}/${name} is ${phase}`, 60_000, async () => {
    const pod = await bench.api.get<Pod>(paths.pod(namespace, name));
    if (pod?.status.phase === 'Failed') throw new GaveUp(`pod ${namespace}/${name} failed`);
    return pod?.status.phase === phase && pod.status.podIP !== undefined ? pod : undefined;
  });

/** @returns the address of a new pod that listens */
export async function listener(bench: Bench, namespace: string): Promise<string> {
  await run(bench, namespace, 'listener', server, {});
  return (await phaseOf(bench, namespace, 'listener', 'Running')).status.podIP ?? '';
}

/** Lets a new pod connect to addresses. @returns what came of it, by the name of the target */
export async function connections(bench: Bench, namespace: string, targets: Record<string, string>): Promise<Record<string, string>> {
  await run(bench, namespace, 'client', client, { TARGETS: JSON.stringify(targets) });
  await phaseOf(bench, namespace, 'client', 'Succeeded');
  return JSON.parse(await bench.kubectl(['logs', '--namespace', namespace, 'client'])) as Record<string, string>;
}
