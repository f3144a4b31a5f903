import { imageId, obtainable } from './docker.ts';
import { withLock } from './lock.ts';
import { buildNodeImage, builtImage } from './node-build.ts';

/** The node image of kind 0.33. `MILLRACE_NODE_IMAGE` names another one, of Kubernetes 1.36 or newer. */
const stockImage = 'kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5';

/** The node image for kind: the stock one where it is here or can be pulled, else one built from Go modules and Debian packages. */
export async function ensureNodeImage(): Promise<string> {
  const wanted = process.env.MILLRACE_NODE_IMAGE;
  if (wanted !== undefined && wanted !== '') return wanted;
  if ((await imageId(builtImage)) !== undefined) return builtImage;
  if (await obtainable(stockImage)) return stockImage;
  await withLock('node-image', async () => {
    if ((await imageId(builtImage)) === undefined) await buildNodeImage();
  });
  return builtImage;
}
