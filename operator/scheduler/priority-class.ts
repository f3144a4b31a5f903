/** Priorities by thirds of 0 … 1000, for metrics and reports: few, whatever numbers users take. */
export const priorityClasses = [{ name: 'low', from: 0 }, { name: 'normal', from: 334 }, { name: 'high', from: 667 }] as const;
export type PriorityClass = (typeof priorityClasses)[number]['name'];

export const priorityClass = (priority: number): PriorityClass => (priorityClasses.findLast(({ from }) => priority >= from) ?? priorityClasses[0]).name;
