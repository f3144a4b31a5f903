export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  observedGeneration?: number;
  lastTransitionTime: string;
  reason: string;
  message: string;
}

/** Everything of a condition but the time. Messages carry no times, so that they don't change on their own. */
export type ConditionInput = Omit<Condition, 'lastTransitionTime'>;

/**
 * A new list with `next` in it. `lastTransitionTime` changes only when the status does (KEP-1623); messages are cut at
 * 1,024 characters. The list stays sorted by type, so that equal conditions are equal lists.
 */
export function setCondition(conditions: readonly Condition[], next: ConditionInput, now: number): Condition[] {
  const before = conditions.find((condition) => condition.type === next.type);
  const lastTransitionTime =
    before?.status === next.status ? before.lastTransitionTime : new Date(now).toISOString().replace(/\.\d+Z$/, 'Z');
  const message = next.message.length > 1024 ? `${next.message.slice(0, 1021)}...` : next.message;
  return [...conditions.filter((condition) => condition.type !== next.type), { ...next, message, lastTransitionTime }].sort((a, b) =>
    a.type < b.type ? -1 : 1,
  );
}

export function isTrue(conditions: readonly Condition[] | undefined, type: string): boolean {
  return conditions?.some((condition) => condition.type === type && condition.status === 'True') ?? false;
}
