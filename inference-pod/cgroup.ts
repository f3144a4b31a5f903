import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** What the kernel lets this process have; absent where there is no limit. */
export interface CgroupLimits {
  cpuMillis?: number;
  memoryBytes?: number;
}

/** Beyond what any machine has: how cgroup v1 says that there is no limit. */
const noLimitBytes = 2 ** 60;

/**
 * The limits of the process's control group and of those above it, of cgroup v2 or v1
 * (https://docs.kernel.org/admin-guide/cgroup-v2.html). Node's `availableParallelism` knows nothing of them.
 */
export function readCgroupLimits(mount = '/sys/fs/cgroup', membership = '/proc/self/cgroup'): CgroupLimits {
  const cpu: number[] = [];
  const memory: number[] = [];
  for (const line of (readText(membership) ?? '').split('\n')) {
    const [id, controllers = '', path = ''] = line.split(':');
    if (id === '0' && controllers === '') {
      for (const folder of upwards(mount, path)) {
        const [quota, period] = (readText(join(folder, 'cpu.max')) ?? '').split(' ').map(Number);
        cpu.push(((quota ?? Number.NaN) * 1_000) / (period ?? Number.NaN));
        memory.push(Number(readText(join(folder, 'memory.max')) ?? Number.NaN));
      }
    }
    if (controllers.split(',').includes('cpu')) {
      for (const folder of [...upwards(join(mount, 'cpu'), path), ...upwards(join(mount, controllers), path)]) {
        const quota = Number(readText(join(folder, 'cpu.cfs_quota_us')) ?? Number.NaN);
        cpu.push((quota * 1_000) / Number(readText(join(folder, 'cpu.cfs_period_us')) ?? Number.NaN));
      }
    }
    if (controllers.split(',').includes('memory')) {
      for (const folder of upwards(join(mount, 'memory'), path)) memory.push(Number(readText(join(folder, 'memory.limit_in_bytes')) ?? Number.NaN));
    }
  }
  const cpuMillis = least(cpu.map(Math.floor));
  const memoryBytes = least(memory.filter((bytes) => bytes < noLimitBytes));
  return { ...(cpuMillis === undefined ? {} : { cpuMillis }), ...(memoryBytes === undefined ? {} : { memoryBytes }) };
}

/** The folder of `path` below `mount` and those above it. In a container the path may be that of the host, and the mount already the group's own. */
function upwards(mount: string, path: string): string[] {
  const folders: string[] = [];
  for (let at = join('/', path); ; at = dirname(at)) {
    folders.push(join(mount, at));
    if (at === '/') return folders;
  }
}

function least(values: readonly number[]): number | undefined {
  const limits = values.filter((value) => Number.isFinite(value) && value > 0);
  return limits.length === 0 ? undefined : Math.min(...limits);
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
