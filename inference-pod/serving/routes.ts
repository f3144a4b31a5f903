/** The paths of the Open Inference Protocol that are served (https://github.com/kserve/open-inference-protocol). */
export type Route =
  | { kind: 'server' }
  | { kind: 'live' }
  | { kind: 'ready' }
  | ({ kind: 'model' | 'modelReady' } & ModelRef)
  | ({ kind: 'infer' } & ModelRef);

/** Version undefined: whichever there is. */
export interface ModelRef {
  name: string;
  version: string | undefined;
}

/** Undefined when there is nothing at `path`. */
export function routeOf(path: string): Route | undefined {
  if (path === '/v2' || path === '/v2/') return { kind: 'server' };
  if (path === '/v2/health/live') return { kind: 'live' };
  if (path === '/v2/health/ready') return { kind: 'ready' };
  const match = /^\/v2\/models\/([^/]+)(?:\/versions\/([^/]+))?(?:\/(ready|infer))?$/.exec(path);
  if (match === null) return undefined;
  const [name, version] = [decode(match[1]), decode(match[2])];
  if (name === undefined) return undefined;
  if (match[3] === 'infer') return { kind: 'infer', name, version };
  return { kind: match[3] === 'ready' ? 'modelReady' : 'model', name, version };
}

function decode(part: string | undefined): string | undefined {
  try {
    return part === undefined ? undefined : decodeURIComponent(part);
  } catch {
    return part;
  }
}
