/** For each node, the nodes that it needs. All of them are keys. */
export type Graph = ReadonlyMap<number, readonly number[]>;

/**
 * Strongly connected components: the largest groups in which each node needs each other one, directly or through others
 * (Tarjan 1972). A component comes after all those that it needs. Without recursion, since chains may be long.
 */
export function componentsOf(graph: Graph): number[][] {
  const components: number[][] = [];
  /** When a node was met first, and the earliest that its part of the search leads back to. */
  const met = new Map<number, number>();
  const back = new Map<number, number>();
  const open: number[] = [];
  const isOpen = new Set<number>();
  const meet = (node: number): { node: number; next: number } => {
    met.set(node, met.size);
    back.set(node, met.get(node) as number);
    open.push(node);
    isOpen.add(node);
    return { node, next: 0 };
  };
  const lower = (node: number, to: number | undefined): unknown => back.set(node, Math.min(back.get(node) as number, to as number));

  for (const start of graph.keys()) {
    if (met.has(start)) continue;
    const path = [meet(start)];
    for (let at = path.at(-1); at !== undefined; at = path.at(-1)) {
      const needed = graph.get(at.node)?.[at.next++];
      if (needed !== undefined) {
        if (!met.has(needed)) path.push(meet(needed));
        else if (isOpen.has(needed)) lower(at.node, met.get(needed));
        continue;
      }
      path.pop();
      const above = path.at(-1);
      if (above) lower(above.node, back.get(at.node));
      if (back.get(at.node) !== met.get(at.node)) continue;
      const component = open.splice(open.indexOf(at.node));
      for (const node of component) isOpen.delete(node);
      components.push(component);
    }
  }
  return components;
}
