/** Plans and contexts for tests of what is carried out. */
import type { ExecuteContext } from '../../operator/runtime/execute.ts';
import { AppliedObjects } from '../../operator/runtime/applied.ts';
import type { KubeObject, Stored } from '../../operator/kube/object.ts';
import type { EventText } from '../../operator/kube/events.ts';
import type { Plan, Report } from '../../operator/runtime/plan.ts';
import type { FakeApiServer } from './fake-api-server.ts';
import { clientOf } from './kube.ts';

export function aPlan(parts: Partial<Omit<Plan, 'report'>> & { report?: Partial<Report> | Plan['report'] } = {}): Plan {
  const { report, ...rest } = parts;
  const base: Report = { events: [], outcome: { kind: 'settled' } };
  return {
    apply: [],
    create: [],
    remove: [],
    ...rest,
    report: typeof report === 'function' ? report : () => ({ ...base, ...report }),
  };
}

export interface RecordedEvents {
  texts: EventText[];
  record(about: Stored, text: EventText): void;
}

export function eventSink(): RecordedEvents {
  const texts: EventText[] = [];
  return { texts, record: (_about, text) => texts.push(text) };
}

export function contextOf(
  server: FakeApiServer,
  parts: Partial<ExecuteContext> = {},
): ExecuteContext & { recorder: RecordedEvents } {
  const recorder = eventSink();
  return { client: clientOf(server), fieldManager: 'millrace', applied: new AppliedObjects(), ...parts, recorder };
}

export function aConfigMap(
  name: string,
  data: Record<string, string>,
  owner?: { name: string; uid: string },
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: {
      namespace: 'a',
      name,
      ...(owner === undefined
        ? {}
        : {
            ownerReferences: [{ apiVersion: 'millrace.dev/v1alpha1', kind: 'BatchJob', ...owner, controller: true }],
          }),
    },
    data,
  } as KubeObject;
}
