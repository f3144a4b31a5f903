import { describe, expect, test } from 'vitest';
import { labels } from '../../../operator/api/names.ts';
import { inputCopy, inputToCopy } from '../../../operator/batchjob/input-copy.ts';
import { inputCopyName, workerPod, workerResources } from '../../../operator/batchjob/pod.ts';
import { attemptOf, podState, slotOf } from '../../../operator/batchjob/pod-state.ts';
import { claimMounts, spreadOf } from '../../../operator/batchjob/volumes.ts';
import { workerSpec } from '../../../operator/batchjob/worker-spec.ts';
import { aBatchJob, aClaim, aTenantView, aWorkerPod, someSettings } from '../../support/builders.ts';

interface MadePod {
  metadata: { name: string; labels: Record<string, string>; annotations: Record<string, string>; ownerReferences: { uid: string; controller: boolean }[] };
  spec: Record<string, unknown> & {
    volumes: ({ name: string } & Record<string, unknown>)[];
    tolerations: { key: string; tolerationSeconds?: number }[];
    containers: [{ env: { name: string; value?: string }[]; volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[]; securityContext: unknown; resources: unknown }];
  };
}

const make = (builder = aBatchJob(), tenant = aTenantView(), spread: 'any-node' | 'one-node' | 'one-worker' = 'any-node', slot = 2, attempt = 3): MadePod =>
  workerPod(builder.build(), tenant, someSettings, spread, { slot, attempt }) as unknown as MadePod;

describe('a worker pod', () => {
  test('is named after job, slot and attempt, and owned by the job', () => {
    const pod = make();
    expect(pod.metadata.name).toBe('digits-w2-3');
    expect(pod.metadata.ownerReferences).toMatchObject([{ uid: 'job-uid', controller: true }]);
    expect(pod.metadata.labels).toMatchObject({ [labels.tenant]: 'acme', [labels.jobUid]: 'job-uid', [labels.slot]: '2', [labels.attempt]: '3' });
    expect(pod.metadata.annotations).toMatchObject({ 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'true' });
  });

  test('has a name that tells slot and attempt, also for jobs whose own name looks like a worker\'s', () => {
    const pod = aWorkerPod(0).build();
    pod.metadata.name = make(aBatchJob().named('x-w1-2')).metadata.name;
    expect([pod.metadata.name, slotOf(pod), attemptOf(pod)]).toEqual(['x-w1-2-w2-3', 2, 3]);
  });

  test('passes Pod Security "restricted"', () => {
    const { spec } = make(aBatchJob().inline('{"id":1}'));
    const allowed = new Set(['configMap', 'emptyDir', 'projected', 'persistentVolumeClaim', 'image']);
    expect(spec.volumes.flatMap(({ name: _, ...sources }) => Object.keys(sources)).filter((source) => !allowed.has(source))).toEqual([]);
    expect(spec).toMatchObject({ securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } } });
    expect(spec.containers[0].securityContext).toEqual({ allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } });
    for (const forbidden of ['hostNetwork', 'hostPID', 'hostIPC', 'initContainers']) expect(spec).not.toHaveProperty(forbidden);
  });

  test('carries a token for the sync server and none for the API server', () => {
    const { spec } = make();
    expect(spec).toMatchObject({ automountServiceAccountToken: false, serviceAccountName: 'millrace-worker', restartPolicy: 'OnFailure' });
    expect(JSON.stringify(spec.volumes)).toContain('"audience":"millrace.dev/sync"');
  });

  test('waits in the queue that the job names, behind the gate that only Kueue takes away', () => {
    const queued = make(aBatchJob().with({ queueName: 'team' }));
    expect(queued.metadata.labels).toMatchObject({ 'kueue.x-k8s.io/queue-name': 'team' });
    expect(queued.spec).toMatchObject({ schedulingGates: [{ name: 'kueue.x-k8s.io/admission' }] });
    expect(JSON.stringify(make())).not.toContain('kueue');
  });

  test('leaves an unreachable node after 30 s and keeps the tolerations of the job', () => {
    const { tolerations } = make(aBatchJob().with({ workers: { tolerations: [{ key: 'gpu', operator: 'Exists' }] } })).spec;
    expect(tolerations.map(({ key, tolerationSeconds }) => [key, tolerationSeconds])).toEqual([
      ['gpu', undefined], ['node.kubernetes.io/not-ready', 30], ['node.kubernetes.io/unreachable', 30],
    ]);
  });

  test('runs where tenant and job say; the tenant has the last word', () => {
    const { spec } = make(aBatchJob().with({ workers: { nodeSelector: { disk: 'ssd', pool: 'b' } } }), aTenantView({ nodeSelector: { pool: 'a' } }));
    expect(spec['nodeSelector']).toEqual({ disk: 'ssd', pool: 'a' });
  });

  test('pulls with the secrets of tenant and job, each once', () => {
    const { spec } = make(aBatchJob().with({ model: { imagePullSecrets: ['mine', 'shared'] } }), aTenantView({ imagePullSecrets: ['shared'] }));
    expect(spec['imagePullSecrets']).toEqual([{ name: 'shared' }, { name: 'mine' }]);
  });

  test('stays beside its fellows only when a volume demands it', () => {
    expect(make().spec).toMatchObject({ topologySpreadConstraints: [{ whenUnsatisfiable: 'ScheduleAnyway' }] });
    const { spec } = make(aBatchJob(), aTenantView(), 'one-node');
    expect(JSON.stringify(spec['affinity'])).toContain('requiredDuringSchedulingIgnoredDuringExecution');
    expect(spec).not.toHaveProperty('topologySpreadConstraints');
  });

  test('mounts one claim that is input, output and model once, to be written', () => {
    const { spec } = make(aBatchJob().with({ model: { image: undefined, volume: { claimName: 'data' } } as never }));
    expect(spec.containers[0].volumeMounts.filter(({ name }) => name.startsWith('claim'))).toEqual([{ name: 'claim-0', mountPath: '/volumes/data', readOnly: false }]);
  });

  test('mounts what it only reads read-only', () => {
    const { spec } = make(aBatchJob().with({ input: { volume: { claimName: 'inputs' } } }));
    expect(spec.containers[0].volumeMounts).toContainEqual({ name: 'claim-1', mountPath: '/volumes/inputs', readOnly: true });
    expect(spec.containers[0].volumeMounts).toContainEqual({ name: 'model', mountPath: '/model', readOnly: true });
  });

  test('mounts the copy of inline input, never the user\'s own ConfigMap', () => {
    const { spec } = make(aBatchJob().with({ input: { volume: undefined, configMap: { name: 'digits-input', key: 'items' } } as never }));
    expect(spec.volumes).toContainEqual({ name: 'input', configMap: { name: 'digits-input-copy' } });
  });
});

describe('resources', () => {
  const resources = (given: object | undefined, accelerator: 'auto' | 'cuda' | 'cpu' = 'auto') =>
    workerResources(aBatchJob().with({ workers: { accelerator, ...(given && { resources: given }) } as never }).build(), someSettings);

  test('are always set, for requests and limits', () => {
    expect(resources(undefined)).toEqual({ requests: { cpu: '500m', memory: '512Mi' }, limits: { cpu: '500m', memory: '512Mi' } });
  });

  test('of one kind count for both', () => {
    expect(resources({ limits: { cpu: 2 } })).toEqual({ requests: { cpu: 2, memory: '512Mi' }, limits: { cpu: 2, memory: '512Mi' } });
    expect(resources({ requests: { memory: '2Gi' } }).limits).toEqual({ cpu: '500m', memory: '2Gi' });
    expect(resources({ requests: { cpu: '250m' }, limits: { cpu: 1 } })).toMatchObject({ requests: { cpu: '250m' }, limits: { cpu: 1 } });
  });

  test('have a GPU with cuda, as many as the job names, and never with cpu', () => {
    expect(resources(undefined, 'cuda')).toMatchObject({ requests: { 'nvidia.com/gpu': 1 }, limits: { 'nvidia.com/gpu': 1 } });
    expect(resources({ limits: { 'nvidia.com/gpu': 2 } }, 'auto')).toMatchObject({ requests: { 'nvidia.com/gpu': 2 }, limits: { 'nvidia.com/gpu': 2 } });
    expect(JSON.stringify(resources({ limits: { 'nvidia.com/gpu': 2 } }, 'cpu'))).not.toContain('nvidia');
    expect(JSON.stringify(resources(undefined, 'auto'))).not.toContain('nvidia');
  });
});

describe('where workers may run', () => {
  const spread = (...modes: string[]) => spreadOf(claimMounts(aBatchJob().build().spec), new Map([['data', aClaim(...modes)]]));

  test.each([
    [['ReadWriteMany'], 'any-node'],
    [['ReadWriteOnce', 'ReadWriteMany'], 'any-node'],
    [['ReadWriteOnce'], 'one-node'],
    [['ReadWriteOnce', 'ReadOnlyMany'], 'one-node'],
    [['ReadWriteOncePod'], 'one-worker'],
  ] as const)('an output claim with %j: %s', (modes, expected) => {
    expect(spread(...modes)).toBe(expected);
  });

  test('the strictest claim decides; one that is only read may be ReadOnlyMany', () => {
    const mounts = claimMounts(aBatchJob().with({ input: { volume: { claimName: 'inputs' } } }).build().spec);
    const of = (data: string, inputs: string) => spreadOf(mounts, new Map([['data', aClaim(data)], ['inputs', aClaim(inputs)]]));
    expect(of('ReadWriteMany', 'ReadOnlyMany')).toBe('any-node');
    expect(of('ReadWriteMany', 'ReadWriteOnce')).toBe('one-node');
    expect(of('ReadWriteOnce', 'ReadWriteOncePod')).toBe('one-worker');
  });
});

/** Reads from AWS and writes to a server of its own. */
const inS3 = () =>
  aBatchJob().with({
    input: { volume: undefined, s3: { bucket: 'lake', key: 'in/*.jsonl', credentialsSecret: 'reader' } },
    output: { volume: undefined, s3: { bucket: 'results', prefix: 'digits', endpoint: 'http://s3:9000', region: 'eu-west-1', credentialsSecret: 'writer' } },
  } as never);

test('a worker of a job in S3 refers to the keys in the Secrets, and mounts no input', () => {
  const pod = make(inS3());
  const from = (name: string, key: string, optional: boolean): object => ({ valueFrom: { secretKeyRef: { name, key, optional } } });
  const variables = pod.spec.containers[0].env;
  const of = (name: string): unknown => variables.find((variable) => variable.name === name);
  expect(of('MILLRACE_INPUT_ACCESS_KEY_ID')).toMatchObject(from('reader', 'AWS_ACCESS_KEY_ID', false));
  expect(of('MILLRACE_INPUT_SECRET_ACCESS_KEY')).toMatchObject(from('reader', 'AWS_SECRET_ACCESS_KEY', false));
  expect(of('MILLRACE_OUTPUT_SECRET_ACCESS_KEY')).toMatchObject(from('writer', 'AWS_SECRET_ACCESS_KEY', false));
  expect(of('MILLRACE_OUTPUT_SESSION_TOKEN')).toMatchObject(from('writer', 'AWS_SESSION_TOKEN', true));
  expect(pod.spec.volumes.map(({ name }) => name)).toEqual(['tmp', 'token', 'model']);
});

describe('what a worker is told', () => {
  test('has paths as they are in its container', () => {
    expect(workerSpec(aBatchJob().workers(8).build())).toEqual({
      job: { uid: 'job-uid', namespace: 'acme', name: 'digits' },
      model: { root: '/model', path: 'model.onnx', task: 'tensors', accelerator: 'cpu' },
      input: { format: 'jsonl', root: '/volumes/data', path: 'in.jsonl', additionalPaths: [] },
      output: { root: '/volumes/data', path: 'out', overwrite: false },
      sharding: { targetBytes: 8 * 2 ** 20, maxWorkers: 8 },
      batching: { maxSize: 256, timeoutSeconds: 300 },
    });
    expect(workerSpec(aBatchJob().inline('x').build()).input).toEqual({ format: 'jsonl', root: '/input', path: 'input.jsonl', additionalPaths: [] });
  });

  test('has the settings of texts with their task', () => {
    const model = (fields: object) => workerSpec(aBatchJob().with({ model: { image: 'm', path: 'model.onnx', ...fields } as never }).build()).model;
    expect(model({ task: 'text-embedding' }).embedding).toEqual({ truncate: false });
    expect(model({ task: 'text-embedding', embedding: { truncate: true, pooling: 'cls' } }).embedding).toEqual({ truncate: true, pooling: 'cls' });
    expect(model({ task: 'tensors' })).not.toHaveProperty('embedding');
  });

  test('has buckets, and keys only by name', () => {
    const { input, output } = workerSpec(inS3().build());
    expect(input).toEqual({ format: 'jsonl', bucket: 'lake', region: 'us-east-1', pathStyle: false, key: 'in/*.jsonl', additionalKeys: [] });
    expect(output).toEqual({ overwrite: false, bucket: 'results', region: 'eu-west-1', endpoint: 'http://s3:9000', pathStyle: true, prefix: 'digits/' });
  });

  test.each([[1000, 1000], ['64', 64], ['1k', 1000], ['2Ki', 2048], ['3M', 3e6], ['1Gi', 2 ** 30], [0, 1]])('sharding.targetBytes %s is %i bytes', (given, bytes) => {
    expect(workerSpec(aBatchJob().with({ sharding: { targetBytes: given } }).build()).sharding.targetBytes).toBe(bytes);
  });

  test('asks for CUDA as the job does; auto without a GPU is cpu', () => {
    const accelerator = (workers: object) => workerSpec(aBatchJob().with({ workers: workers as never }).build()).model.accelerator;
    expect(accelerator({ accelerator: 'cuda' })).toBe('cuda');
    expect(accelerator({ accelerator: 'auto', resources: { limits: { 'nvidia.com/gpu': 1 } } })).toBe('auto');
    expect(accelerator({ accelerator: 'auto', resources: { limits: { 'nvidia.com/gpu': 0 } } })).toBe('cpu');
    expect(accelerator({ accelerator: 'cpu', resources: { limits: { 'nvidia.com/gpu': 1 } } })).toBe('cpu');
  });
});

describe('the copy of the input', () => {
  const fromMap = aBatchJob().with({ input: { volume: undefined, configMap: { name: 'items', key: 'a' } } as never }).build();

  test('holds the bytes, cannot be changed, and goes with the job', () => {
    const copy = inputCopy(aBatchJob().build(), 'eA==') as unknown as Record<string, unknown>;
    expect(copy).toMatchObject({ immutable: true, binaryData: { 'input.jsonl': 'eA==' }, metadata: { name: inputCopyName('digits'), ownerReferences: [{ uid: 'job-uid' }] } });
  });

  test('is made from inline text, or from text or bytes of a ConfigMap', () => {
    expect(inputToCopy(aBatchJob().inline('ü').build(), undefined)).toEqual({ kind: 'ready', base64: 'w7w=' });
    expect(inputToCopy(fromMap, { data: { a: 'ü' } })).toEqual({ kind: 'ready', base64: 'w7w=' });
    expect(inputToCopy(fromMap, { binaryData: { a: 'AAE=' } })).toEqual({ kind: 'ready', base64: 'AAE=' });
    expect(inputToCopy(aBatchJob().build(), undefined)).toEqual({ kind: 'none' });
  });

  test('that cannot be made says what is missing', () => {
    expect(inputToCopy(fromMap, undefined)).toMatchObject({ reason: 'ConfigMapNotFound', message: 'spec.input.configMap.name: ConfigMap "items" does not exist in namespace "acme"; create it' });
    expect(inputToCopy(fromMap, { data: { c: '' }, binaryData: { b: '' } })).toMatchObject({ reason: 'ConfigMapKeyNotFound', message: 'spec.input.configMap.key: ConfigMap "items" has no key "a"; it has b, c' });
  });
});

test.each([
  ['pending', aWorkerPod(0)],
  ['running', aWorkerPod(0).running()],
  ['running', aWorkerPod(0).running().waiting('CrashLoopBackOff')],
  ['ending', aWorkerPod(0).on('n1').running().beingDeleted()],
  ['lost', aWorkerPod(0).gated().beingDeleted()],
  ['lost', aWorkerPod(0).on('gone').running().beingDeleted()],
  ['succeeded', aWorkerPod(0).phase('Succeeded').beingDeleted()],
  ['failed', aWorkerPod(0).on('gone').phase('Failed')],
] as const)('a pod is %s', (state, pod) => {
  expect(podState(pod.build(), new Set(['gone']))).toBe(state);
});
