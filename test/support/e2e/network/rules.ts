import fc from 'fast-check';
import type { TenantNetwork } from '../../../../operator/api/tenant.gen.ts';
import type { LabelSelector, PolicyPeer, PolicyPort } from './evaluator.ts';

/** What generated rules speak of. Each list should have things that exist and things that do not. */
export interface Vocabulary {
  podLabels: Record<string, readonly string[]>;
  namespaceLabels: Record<string, readonly string[]>;
  ports: readonly number[];
  portNames: readonly string[];
  blocks: readonly { cidr: string; except?: string[] }[];
}

function selectors(labels: Vocabulary['podLabels']): fc.Arbitrary<LabelSelector> {
  const pair = fc.constantFrom(...Object.entries(labels));
  const values = pair.chain(([key, known]) => fc.uniqueArray(fc.constantFrom(...known), { minLength: 1, maxLength: 2 }).map((some) => ({ key, values: some })));
  const expression = fc.oneof(
    values.chain(({ key, values: some }) => fc.constantFrom('In' as const, 'NotIn' as const).map((operator) => ({ key, operator, values: some }))),
    pair.chain(([key]) => fc.constantFrom('Exists' as const, 'DoesNotExist' as const).map((operator) => ({ key, operator }))),
  );
  const matchLabels = values.map(({ key, values: [value = ''] }) => ({ [key]: value }));
  const matchExpressions = fc.array(expression, { minLength: 1, maxLength: 2 });
  const weighed: [weight: number, arbitrary: fc.Arbitrary<LabelSelector>][] = [
    [4, fc.record({ matchLabels })],
    [4, fc.record({ matchExpressions })],
    [1, fc.record({ matchLabels, matchExpressions })],
    [1, fc.constantFrom<LabelSelector>({}, { matchLabels: {} }, { matchExpressions: [] })],
  ];
  return fc.oneof(...weighed.map(([weight, arbitrary]) => ({ weight, arbitrary })));
}

function peers({ podLabels, namespaceLabels, blocks }: Vocabulary): fc.Arbitrary<PolicyPeer> {
  const [podSelector, namespaceSelector] = [selectors(podLabels), selectors(namespaceLabels)];
  return fc.oneof(
    fc.record({ podSelector }),
    fc.record({ namespaceSelector }),
    { weight: 2, arbitrary: fc.record({ podSelector, namespaceSelector }) },
    fc.record({ ipBlock: fc.constantFrom(...blocks) }),
  );
}

/** As the API server stores them: with their protocol. */
function ports({ ports: numbers, portNames }: Vocabulary): fc.Arbitrary<PolicyPort & { protocol: 'TCP' | 'UDP' }> {
  const protocol = fc.constantFrom('TCP' as const, 'TCP' as const, 'UDP' as const);
  const number = fc.constantFrom(...numbers);
  return fc.oneof(
    { weight: 3, arbitrary: fc.record({ protocol, port: number }) },
    { weight: 2, arbitrary: fc.record({ protocol, port: fc.constantFrom(...portNames) }) },
    { weight: 2, arbitrary: fc.tuple(protocol, number, number).map(([one, a, b]) => ({ protocol: one, port: Math.min(a, b), endPort: Math.max(a, b) })) },
    { weight: 1, arbitrary: fc.record({ protocol }) },
  );
}

/** `spec.network` of a Tenant: rules of every form that the API knows. */
export function networks(words: Vocabulary): fc.Arbitrary<TenantNetwork> {
  // Lists that are empty or left out mean everything, and would hide what the other rules mean.
  const mostly = <T>(list: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.oneof({ weight: 12, arbitrary: fc.array(list, { minLength: 1, maxLength: 2 }) }, { weight: 1, arbitrary: fc.constant<T[]>([]) });
  const [others, some] = [mostly(peers(words)), mostly(ports(words))];
  const rules = <K extends string>(key: K): fc.Arbitrary<object[]> =>
    fc.array(
      fc.oneof(
        { weight: 6, arbitrary: fc.record({ [key]: others, ports: some }) },
        { weight: 2, arbitrary: fc.record({ [key]: others }) },
        { weight: 1, arbitrary: fc.record({ ports: some }) },
      ),
      { maxLength: 4 },
    );
  return fc.record({ egress: rules('to'), ingress: rules('from') }) as fc.Arbitrary<TenantNetwork>;
}
