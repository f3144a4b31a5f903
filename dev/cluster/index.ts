export { buildImages, buildModelImage, ensureImages, type Images } from './images.ts';
export { type Cluster, clusterStatus, deleteCluster, ensureCluster, kubectl, sharedMount } from './kind.ts';
export { loadImages } from './load.ts';
export { ensureKwok, ensureVersitygw } from './tools.ts';
