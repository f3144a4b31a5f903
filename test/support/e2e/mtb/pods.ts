/** Objects nested to any depth, of which later ones add to or replace what earlier ones say; lists are replaced. */
type Tree = { [key: string]: unknown };

function merge(base: Tree, change: Tree): Tree {
  const merged = { ...base };
  for (const [key, value] of Object.entries(change)) {
    const known = merged[key];
    merged[key] = isTree(known) && isTree(value) ? merge(known, value) : value;
  }
  return merged;
}

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value);

/** What differs from a pod that is fine: of its spec, and of its only container. */
export interface PodChange {
  pod?: Tree;
  container?: Tree;
  annotations?: Record<string, string>;
}

/** A pod that passes Pod Security `restricted`, but for one change. */
export function podWith(name: string, { pod = {}, container = {}, annotations = {} }: PodChange = {}): { apiVersion: string; kind: string; metadata: object; spec: object } {
  const main = merge({
    name: 'main',
    image: 'registry.k8s.io/pause:3.10',
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
    resources: { requests: { cpu: '10m', memory: '16Mi' }, limits: { cpu: '100m', memory: '64Mi' } },
  }, container);
  const spec = merge({
    automountServiceAccountToken: false,
    securityContext: { runAsNonRoot: true, runAsUser: 65532, seccompProfile: { type: 'RuntimeDefault' } },
  }, pod);
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, annotations }, spec: { ...spec, containers: [main] } };
}
