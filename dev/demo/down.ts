import { rmSync } from 'node:fs';
import { cacheDir } from '../cluster/cache.ts';
import { docker, ensureDocker } from '../cluster/docker.ts';
import { deleteCluster } from '../cluster/index.ts';
import { step } from '../step.ts';

/**
 * Removes the cluster with everything in it and the images made from this repository. What takes long to build
 * (node image, tools) is kept for the next time unless `all` is set.
 */
export async function takeDown(all: boolean): Promise<void> {
  await ensureDocker();
  await deleteCluster();
  const ours = (await docker(['image', 'ls', '--format', '{{.Repository}}:{{.Tag}}'])).split('\n')
    .filter((ref) => all ? ref.startsWith('millrace.local/') : /^millrace\.local\/(operator|inference-pod|models\/)/.test(ref));
  if (ours.length > 0) await step(`remove ${ours.length} image(s)`, () => docker(['image', 'rm', '--force', ...ours]));
  if (all) {
    rmSync(cacheDir(), { recursive: true, force: true });
    console.log(`removed the cluster, its images and ${cacheDir()}`);
  } else {
    console.log(`removed the cluster and its images; ${cacheDir()} and the node image are kept for the next time (npm run demo:down -- --all removes them too)`);
  }
}
