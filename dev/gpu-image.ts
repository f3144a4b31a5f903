/**
 * `npm run gpu-image`: builds the worker's image with the CUDA libraries, and shows what can be shown of it without a
 * GPU: that every library finds all others but the driver's, and what the worker says of a missing driver.
 */
import { join } from 'node:path';
import { repoDir } from './cluster/cache.ts';
import { docker } from './cluster/docker.ts';
import { buildCudaImage, buildImages } from './cluster/images.ts';
import { CommandError, StepError, step } from './step.ts';

const binding = '/app/node_modules/onnxruntime-node/bin/napi-v6/linux/x64';
const libraries = `/opt/cuda/lib/*.so* ${binding}/*.so*`;
const driver = 'libcuda.so.1';

/** Libraries that a library of the image needs and that are not there, as `library: needed`. */
async function missing(image: string): Promise<string[]> {
  const script = `for file in ${libraries}; do ldd $file | sed -n "s|^\\s*\\(\\S*\\) => not found|$(basename $file): \\1|p"; done`;
  return (await docker(['run', '--rm', '--entrypoint', 'sh', image, '-c', script])).split('\n').filter(Boolean);
}

/** What the dynamic linker says when all symbols of a library are to be found at once; nothing when it is content. */
async function unloadable(image: string): Promise<string[]> {
  const script = `for file in ${libraries}; do node -e '
    const { RTLD_NOW } = require("node:os").constants.dlopen;
    try { process.dlopen({ exports: {} }, process.argv[1], RTLD_NOW) } catch ({ message }) { if (!/self-register/.test(message)) console.log(message) }
    process.reallyExit(0)' $file || echo "$file: node ended with $?"; done`;
  return (await docker(['run', '--rm', '--entrypoint', 'sh', image, '-c', script])).split('\n').filter(Boolean);
}

/** What a worker tells that is to open a small model. */
async function opened(image: string, accelerator: 'auto' | 'cuda'): Promise<string> {
  const program = `
    import { openPool } from '/app/inference-pod/engine/open-pool.ts';
    const model = { root: '/models', path: 'affine.onnx', task: 'tensors', accelerator: '${accelerator}' };
    try {
      const { pool, warning } = await openPool({ model, file: '/models/affine.onnx', format: 'jsonl', size: { sessions: 1, threads: 1 }, runLimitMs: 60000, onCrash: console.error });
      console.log(pool.provider + ': ' + warning);
      await pool.close(5000);
    } catch (error) {
      console.log(error.code + ': ' + error.message);
    }`;
  const models = join(repoDir, 'test/support/models');
  return await docker(['run', '--rm', '--volume', `${models}:/models:ro`, '--entrypoint', 'node', image, '--input-type=module', '--eval', program]);
}

async function sizeOf(image: string): Promise<string> {
  return `${(Number(await docker(['image', 'inspect', '--format', '{{.Size}}', image])) / 1e9).toFixed(2)} GB`;
}

try {
  const { worker } = await buildImages();
  const image = await buildCudaImage();
  const [lacking, refused] = [await step('look for what its libraries need', () => missing(image)), await step('load its libraries', () => unloadable(image))];
  const [auto, cuda] = [await opened(image, 'auto'), await opened(image, 'cuda')];
  console.log(`
image with CUDA    ${image}, ${await sizeOf(image)}
image without      ${worker}, ${await sizeOf(worker)}
not found          ${lacking.join(', ') || 'nothing'}
not loadable       ${refused.join('\n                   ') || 'nothing'}
accelerator auto   ${auto}
accelerator cuda   ${cuda}`);
  const others = [...lacking.filter((line) => !line.endsWith(`: ${driver}`)), ...refused.filter((line) => !line.includes(driver))];
  const wrong = [
    ...(others.length > 0 ? ['libraries are missing that the node does not bring'] : []),
    ...(auto.startsWith('cpu: running on CPU although') || auto.startsWith('cuda: ') ? [] : ['accelerator auto did not fall back to CPU with a warning']),
    ...(cuda.includes(driver) || cuda.startsWith('cuda: ') ? [] : ['accelerator cuda did not name the missing driver']),
  ];
  if (wrong.length > 0) throw new StepError('check the image with CUDA', wrong.join('; '), 'see docs/gpu.md');
} catch (cause) {
  if (!(cause instanceof StepError || cause instanceof CommandError)) throw cause;
  console.error(cause.message);
  process.exitCode = 1;
}
