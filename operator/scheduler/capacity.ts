import { namesIn, type ResourceNames, timesIn, vector } from './resources.ts';
import type { JobState, NodeState, Taint, Toleration } from './snapshot.ts';

/** What is free on the nodes. */
export interface Capacity {
  nodes: readonly NodeState[];
  indexes: ReadonlyMap<string, number>;
  resources: ResourceNames;
  /** Per node, one array as long as `resources`. */
  free: Float64Array[];
  total: Float64Array;
  /** Nodes kept for the job that has waited longest. */
  reserved: Uint8Array;
  /** Raised when something is given back: until then, what did not fit does not fit. */
  version: number;
}

/** What one worker asks of a node. Jobs that ask the same share one shape, so that each question is answered once. */
export interface Shape {
  id: number;
  need: Float64Array;
  oneNode: boolean;
  /** Nodes that match selector and tolerations: those with least to waste first, so that a GPU node goes last to who needs none. */
  matching: readonly number[];
  matches: Uint8Array;
  /** Workers that the matching nodes would take if none of ours were there. */
  roomWhenEmpty: number;
  memo: { version: number; firstFree: number; atMost: number };
}

export function capacityOf(nodes: readonly NodeState[], shapes: readonly JobState[]): Capacity {
  const resources = namesIn([...nodes.map(({ allocatable }) => allocatable), ...shapes.map(({ perWorker }) => perWorker)]);
  const free = nodes.map(({ allocatable }) => vector(resources, allocatable).map((amount) => Math.max(0, amount)));
  const total = new Float64Array(resources.length);
  for (const each of free) for (let i = 0; i < total.length; i++) total[i] = (total[i] as number) + (each[i] as number);
  return { nodes, indexes: new Map(nodes.map(({ name }, index) => [name, index])), resources, free, total, reserved: new Uint8Array(nodes.length), version: 0 };
}

/** Finds the shape of a job; call it before anything is taken. `jobs`: one of each shape. */
export function shapeFinder(capacity: Capacity, jobs: readonly JobState[]): (job: JobState, key: string) => Shape {
  const shapes = new Map<string, Shape>();
  const classes = nodeClasses(capacity.nodes, new Set(jobs.flatMap(({ nodeSelector }) => Object.keys(nodeSelector))));
  const spare = capacity.free.map((free) => free.reduce((sum, amount, i) => sum + (amount > 0 ? amount / (capacity.total[i] as number) : 0), 0));
  const matchings = new Map<string, readonly number[]>();
  return (job, key) => {
    const known = shapes.get(key);
    if (known) return known;
    const matchKey = JSON.stringify([job.nodeSelector, job.tolerations]);
    const matching = matchings.get(matchKey) ?? classes.filter(({ node }) => matchesNode(job, node)).flatMap(({ members }) => members)
      .sort((a, b) => (spare[a] as number) - (spare[b] as number) || a - b);
    matchings.set(matchKey, matching);
    const matches = new Uint8Array(capacity.nodes.length);
    for (const node of matching) matches[node] = 1;
    const need = vector(capacity.resources, job.perWorker);
    const rooms = matching.map((node) => timesIn(capacity.free[node] as Float64Array, need));
    const roomWhenEmpty = job.oneNode ? rooms.reduce((most, room) => Math.max(most, room), 0) : rooms.reduce((sum, room) => sum + room, 0);
    const shape: Shape = { id: shapes.size, need, oneNode: job.oneNode, matching, matches, roomWhenEmpty, memo: { version: -1, firstFree: 0, atMost: 0 } };
    shapes.set(key, shape);
    return shape;
  };
}

/** Nodes that selectors and tolerations cannot tell apart: one decision holds for all of them. */
function nodeClasses(nodes: readonly NodeState[], labelsUsed: ReadonlySet<string>): { node: NodeState; members: number[] }[] {
  const used = [...labelsUsed].sort();
  const classes = new Map<string, { node: NodeState; members: number[] }>();
  nodes.forEach((node, index) => {
    const key = JSON.stringify([used.map((label) => node.labels[label] ?? null), node.taints]);
    const known = classes.get(key);
    if (known) known.members.push(index);
    else classes.set(key, { node, members: [index] });
  });
  return [...classes.values()];
}

export function matchesNode({ nodeSelector, tolerations }: Pick<JobState, 'nodeSelector' | 'tolerations'>, { labels, taints }: Pick<NodeState, 'labels' | 'taints'>): boolean {
  return Object.entries(nodeSelector).every(([label, value]) => labels[label] === value)
    && taints.every((taint) => taint.effect === 'PreferNoSchedule' || tolerations.some((toleration) => tolerates(toleration, taint)));
}

/** As the API documents it: an empty effect is any effect, an empty key with Exists any taint. */
function tolerates({ key = '', operator = 'Equal', value = '', effect = '' }: Toleration, taint: Taint): boolean {
  if (effect !== '' && effect !== taint.effect) return false;
  if (operator === 'Exists') return key === '' || key === taint.key;
  return key === taint.key && value === (taint.value ?? '');
}

/** Workers of that shape for which the node has room. */
export const roomOn = (capacity: Capacity, shape: Shape, node: number): number =>
  (capacity.reserved[node] === 1 ? 0 : timesIn(capacity.free[node] as Float64Array, shape.need));

/** A node for each of `count` more workers, or undefined when not all find one. `home`: the node of a job that must stay on it. */
export function findNodes(capacity: Capacity, shape: Shape, count: number, home?: number): number[] | undefined {
  if (home !== undefined) return home >= 0 && roomOn(capacity, shape, home) >= count ? Array<number>(count).fill(home) : undefined;
  const { memo } = shape;
  if (memo.version !== capacity.version) Object.assign(memo, { version: capacity.version, firstFree: 0, atMost: Number.POSITIVE_INFINITY });
  if (count > memo.atMost) return undefined;
  const found: number[] = [];
  let most = 0;
  for (let i = memo.firstFree; i < shape.matching.length && found.length < count; i++) {
    const node = shape.matching[i] as number;
    const room = roomOn(capacity, shape, node);
    if (room === 0 && i === memo.firstFree) memo.firstFree = i + 1;
    most = Math.max(most, room);
    if (shape.oneNode && room < count) continue;
    for (let k = Math.min(room, count - found.length); k > 0; k--) found.push(node);
  }
  if (found.length === count) return found;
  memo.atMost = shape.oneNode ? most : found.length;
  return undefined;
}
