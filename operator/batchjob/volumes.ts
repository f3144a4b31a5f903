import type { BatchJobSpec } from '../api/batchjob.gen.ts';

/** One claim as it is mounted into a worker. A claim that is used twice is mounted once. */
export interface ClaimMount {
  claimName: string;
  mountPath: string;
  readOnly: boolean;
}

export function claimMounts(spec: BatchJobSpec): ClaimMount[] {
  const mounts = new Map<string, ClaimMount>();
  const use = (claimName: string | undefined, readOnly: boolean): void => {
    if (claimName === undefined) return;
    const mount = mounts.get(claimName);
    if (mount) mount.readOnly &&= readOnly;
    else mounts.set(claimName, { claimName, mountPath: `/volumes/${claimName}`, readOnly });
  };
  use(spec.output.volume.claimName, false);
  use(spec.input.volume?.claimName, true);
  use(spec.model.volume?.claimName, true);
  return [...mounts.values()];
}

export type Spread = 'any-node' | 'one-node' | 'one-worker';

/** Where workers may run, from the access modes of the claims: the strictest claim decides. */
export function spreadOf(accessModes: Iterable<readonly string[]>): Spread {
  let spread: Spread = 'any-node';
  for (const modes of accessModes) {
    if (modes.includes('ReadWriteMany') || modes.includes('ReadOnlyMany')) continue;
    if (modes.includes('ReadWriteOncePod')) return 'one-worker';
    spread = 'one-node';
  }
  return spread;
}
