import type { BatchJobSpec } from '../api/batchjob.gen.ts';
import type { ClaimView } from './observe.ts';

/** One claim as it is mounted into a worker. A claim that is used twice is mounted once. */
export interface ClaimMount {
  claimName: string;
  mountPath: string;
  readOnly: boolean;
}

/** Where a claim is mounted. */
export const claimRoot = (claimName: string): string => `/volumes/${claimName}`;

export function claimMounts(spec: BatchJobSpec): ClaimMount[] {
  const mounts = new Map<string, ClaimMount>();
  const use = (claimName: string | undefined, readOnly: boolean): void => {
    if (claimName === undefined) return;
    const mount = mounts.get(claimName);
    if (mount) mount.readOnly &&= readOnly;
    else mounts.set(claimName, { claimName, mountPath: claimRoot(claimName), readOnly });
  };
  use(spec.output.volume?.claimName, false);
  use(spec.input.volume?.claimName, true);
  use(spec.model.volume?.claimName, true);
  return [...mounts.values()];
}

export type Spread = 'any-node' | 'one-node' | 'one-worker';

/** Where workers may run, from the access modes of the claims: the strictest claim decides. Claims that do not exist say nothing. */
export function spreadOf(mounts: readonly ClaimMount[], claims: ReadonlyMap<string, ClaimView>): Spread {
  let spread: Spread = 'any-node';
  for (const { claimName, readOnly } of mounts) {
    const modes = claims.get(claimName)?.accessModes;
    if (!modes || modes.includes('ReadWriteMany') || (readOnly && modes.includes('ReadOnlyMany'))) continue;
    if (modes.includes('ReadWriteOncePod')) return 'one-worker';
    spread = 'one-node';
  }
  return spread;
}
