import { spawn } from 'node:child_process';
import { chmodSync, closeSync, copyFileSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CommandError, sh, type ShOptions, StepError, step, tail } from '../step.ts';
import { cacheDir, kindDir } from './cache.ts';

/** Runs `docker` and returns its standard output without the last newline. */
export const docker = async (args: readonly string[], options: ShOptions = {}): Promise<string> =>
  (await sh('docker', args, options)).stdout.trimEnd();

/** The id of a local image, or undefined. */
export async function imageId(ref: string): Promise<string | undefined> {
  const { code, stdout } = await sh('docker', ['image', 'inspect', '--format', '{{.Id}}', ref], { okCodes: [0, 1], timeout: 20_000 });
  return code === 0 ? stdout.trim() : undefined;
}

/** Whether an image is here already or could be pulled in a few seconds' answer time. A "no" is remembered for this process. */
export function obtainable(ref: string, answerWithin = 8_000): Promise<boolean> {
  const known = asked.get(ref);
  if (known !== undefined) return known;
  const answer = (async () => {
    if ((await imageId(ref)) !== undefined) return true;
    // The registry must answer quickly; the download itself may take long.
    try {
      await sh('docker', ['manifest', 'inspect', ref], { timeout: answerWithin, env: { DOCKER_CLI_EXPERIMENTAL: 'enabled' } });
    } catch (cause) {
      if (cause instanceof CommandError) return false;
      throw cause;
    }
    await step(`pull ${ref.replace(/@.*/, '')}`, () => docker(['pull', '--quiet', ref], { timeout: 900_000 }));
    return true;
  })();
  asked.set(ref, answer);
  return answer;
}
const asked = new Map<string, Promise<boolean>>();

/** Makes sure that a Docker daemon answers; on Debian and Ubuntu as root it is installed and started when there is none. */
export function ensureDocker(): Promise<void> {
  ready ??= connect();
  return ready;
}
let ready: Promise<void> | undefined;

async function answers(): Promise<boolean> {
  try {
    await sh('docker', ['version', '--format', '{{.Server.Version}}'], { timeout: 10_000 });
    return true;
  } catch (cause) {
    if (cause instanceof CommandError) return false;
    throw cause;
  }
}

async function connect(): Promise<void> {
  if (await answers()) return;
  const debian = process.platform === 'linux' && existsSync('/usr/bin/apt-get');
  if (!debian || process.getuid?.() !== 0 || process.env.DOCKER_HOST !== undefined) {
    throw new StepError('docker', 'no Docker daemon answers',
      'start Docker (Docker Desktop, or: sudo systemctl start docker); if it is not installed: https://docs.docker.com/engine/install/');
  }
  if (!existsSync('/usr/sbin/dockerd') && !existsSync('/usr/bin/dockerd')) {
    await step('install docker (apt-get install docker.io)', () => aptInstall(['docker.io', 'iptables', 'jq']));
  }
  await step('start dockerd', startDaemon);
}

/** Installs Debian packages; root only. A stale or failing package list of another source does not matter as long as the packages are found. */
export async function aptInstall(packages: readonly string[]): Promise<void> {
  const env = { DEBIAN_FRONTEND: 'noninteractive' };
  await sh('apt-get', ['update', '-q'], { env, okCodes: [0, 100], timeout: 180_000 });
  await sh('apt-get', ['install', '-qy', '--no-install-recommends', ...packages], { env, timeout: 600_000 });
}

/** CAP_SYS_RESOURCE is number 24. Without it runc can't grant the full set that `--privileged` asks for. */
function lacksSysResource(): boolean {
  const bound = /^CapBnd:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return bound !== undefined && ((BigInt(`0x${bound}`) >> 24n) & 1n) === 0n;
}

async function startDaemon(): Promise<void> {
  const args: string[] = [];
  if (lacksSysResource()) {
    if (!existsSync('/usr/bin/jq')) await aptInstall(['jq']);
    const wrapper = join(cacheDir(), 'bin/runc-bounded');
    mkdirSync(join(cacheDir(), 'bin'), { recursive: true });
    copyFileSync(join(kindDir, 'runc-bounded'), wrapper);
    chmodSync(wrapper, 0o755);
    args.push('--add-runtime', `runc-bounded=${wrapper}`, '--default-runtime', 'runc-bounded');
  }
  mkdirSync(join(cacheDir(), 'log'), { recursive: true });
  const log = join(cacheDir(), 'log/dockerd.log');
  const fd = openSync(log, 'a');
  const daemon = spawn('dockerd', args, { detached: true, stdio: ['ignore', fd, fd] });
  closeSync(fd);
  let failed: string | undefined;
  daemon.on('error', (cause) => (failed = cause.message));
  daemon.on('exit', (code) => (failed ??= `dockerd exited with code ${code}`));
  daemon.unref();
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(300)) {
    if (await answers()) return;
    if (failed !== undefined) break;
  }
  throw new StepError('start dockerd', `${failed ?? 'it does not answer after 60 s'}\n${tail(readFileSync(log, 'utf8'), 6)}`, `read ${log}`);
}
