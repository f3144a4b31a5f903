import { clusterStatus, deleteCluster, ensureCluster, ensureImages } from './cluster/index.ts';
import { CommandError, StepError } from './step.ts';

const usage = `usage: dev/run cluster up|down|status|images
  up      make the cluster, or use the one that runs, and print its kubeconfig
  down    remove it (built images and tools stay)
  status  say how it is
  images  build the operator and worker images and load them into it`;

const commands: Record<string, () => Promise<string>> = {
  up: async () => `export KUBECONFIG=${(await ensureCluster()).kubeconfig}`,
  down: async () => {
    await deleteCluster();
    return 'removed';
  },
  status: clusterStatus,
  images: async () => Object.values(await ensureImages(await ensureCluster())).join('\n'),
};

// Ending through exit() stops the programs that a step has started and gives locks back.
process.once('SIGINT', () => process.exit(130));
process.once('SIGTERM', () => process.exit(143));

const command = commands[process.argv[2] ?? ''];
if (command === undefined) {
  console.error(usage);
  process.exitCode = 2;
} else {
  try {
    console.log(await command());
  } catch (cause) {
    if (!(cause instanceof StepError || cause instanceof CommandError)) throw cause;
    console.error(cause.message);
    process.exitCode = 1;
  }
}
