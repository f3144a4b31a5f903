import { annotations, API_VERSION, kueue, labels, MANAGED_BY, WORKER_CONTAINER, WORKER_SERVICE_ACCOUNT } from '../api/names.ts';
import { env, s3Env, SYNC_AUDIENCE } from '../../inference-pod/contract.ts';
import type { KubeObject, OwnerReference } from '../kube/object.ts';
import type { StoredBatchJob, TenantView, WorkerSettings } from './observe.ts';
import { podName } from './pod-state.ts';
import { claimMounts, type Spread } from './volumes.ts';
import type { SlotAttempt } from './workers.ts';
import { GPU, INPUT_COPY_ROOT, MODEL_ROOT, usesGpu, workerSpec } from './worker-spec.ts';

const TOKEN_FOLDER = '/var/run/secrets/millrace.dev';
const HEALTH_PORT = 8080;
/** Longer than a worker needs to close its segment and give its leases back. */
const GRACE_SECONDS = 30;
/** How long a worker's node may be unreachable before the pod is evicted and its slot filled anew. */
const UNREACHABLE_SECONDS = 30;
const USER = 65532;

/** Not `<job>-input`, which people like to call their own ConfigMaps. */
export const inputCopyName = (job: string): string => `${job}-input-copy`;

export function ownerReference(job: StoredBatchJob): OwnerReference {
  return { apiVersion: API_VERSION, kind: 'BatchJob', name: job.metadata.name, uid: job.metadata.uid, controller: true, blockOwnerDeletion: true };
}

/** Labels that all workers of a job share; the scale subresource's selector is made from `jobUid`. */
export function jobLabels(job: StoredBatchJob, tenant: string): Record<string, string> {
  return {
    [labels.managedBy]: MANAGED_BY,
    [labels.name]: 'millrace-worker',
    [labels.component]: 'worker',
    [labels.tenant]: tenant,
    [labels.jobName]: job.metadata.name,
    [labels.jobUid]: job.metadata.uid,
  };
}

/** The pod of one slot and attempt. Passes Pod Security `restricted`; requests and limits are always set. */
export function workerPod(
  job: StoredBatchJob,
  tenant: TenantView,
  settings: WorkerSettings,
  spread: Spread,
  { slot, attempt }: SlotAttempt,
): KubeObject {
  const { model, workers, input, output, queueName } = job.spec;
  const copied = !input.volume && !input.s3;
  const claims = claimMounts(job.spec);
  const common = jobLabels(job, tenant.name);
  const pullSecrets = [...new Set([...tenant.imagePullSecrets, ...(model.imagePullSecrets ?? [])])];
  const volumes = [
    { name: 'tmp', emptyDir: {} },
    { name: 'token', projected: { sources: [{ serviceAccountToken: { audience: SYNC_AUDIENCE, expirationSeconds: 3600, path: 'token' } }] } },
    ...(model.image === undefined ? [] : [{ name: 'model', image: { reference: model.image, pullPolicy: 'IfNotPresent' } }]),
    ...(!copied ? [] : [{ name: 'input', configMap: { name: inputCopyName(job.metadata.name) } }]),
    ...claims.map(({ claimName }, index) => ({ name: `claim-${index}`, persistentVolumeClaim: { claimName } })),
  ];
  const volumeMounts = [
    { name: 'tmp', mountPath: '/tmp' },
    { name: 'token', mountPath: TOKEN_FOLDER, readOnly: true },
    ...(model.image === undefined ? [] : [{ name: 'model', mountPath: MODEL_ROOT, readOnly: true }]),
    ...(!copied ? [] : [{ name: 'input', mountPath: INPUT_COPY_ROOT, readOnly: true }]),
    ...claims.map(({ mountPath, readOnly }, index) => ({ name: `claim-${index}`, mountPath, readOnly })),
  ];
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: podName(job.metadata.name, slot, attempt),
      namespace: job.metadata.namespace ?? '',
      labels: { ...common, [labels.slot]: `${slot}`, [labels.attempt]: `${attempt}`, ...(queueName === undefined ? {} : { [kueue.queueLabel]: queueName }) },
      annotations: { [annotations.safeToEvict]: 'true', 'kubectl.kubernetes.io/default-container': WORKER_CONTAINER },
      ownerReferences: [ownerReference(job)],
    },
    spec: {
      // Kueue's webhook would put it on; where there is none, the pod must not run past every queue.
      ...(queueName === undefined ? {} : { schedulingGates: [{ name: kueue.gate }] }),
      restartPolicy: 'OnFailure',
      serviceAccountName: WORKER_SERVICE_ACCOUNT,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: GRACE_SECONDS,
      ...(pullSecrets.length === 0 ? {} : { imagePullSecrets: pullSecrets.map((name) => ({ name })) }),
      securityContext: {
        runAsNonRoot: true,
        runAsUser: USER,
        runAsGroup: USER,
        fsGroup: USER,
        fsGroupChangePolicy: 'OnRootMismatch',
        seccompProfile: { type: 'RuntimeDefault' },
      },
      nodeSelector: { ...workers.nodeSelector, ...tenant.nodeSelector },
      tolerations: [
        ...(workers.tolerations ?? []),
        { key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: UNREACHABLE_SECONDS },
        { key: 'node.kubernetes.io/unreachable', operator: 'Exists', effect: 'NoExecute', tolerationSeconds: UNREACHABLE_SECONDS },
      ],
      ...placement(spread, job.metadata.uid),
      containers: [
        {
          name: WORKER_CONTAINER,
          image: settings.image,
          imagePullPolicy: settings.imagePullPolicy,
          env: [
            { name: env.spec, value: JSON.stringify(workerSpec(job)) },
            { name: env.slot, value: `${slot}` },
            { name: env.attempt, value: `${attempt}` },
            { name: env.syncUrl, value: settings.syncUrl },
            { name: env.syncCa, value: settings.syncCa },
            { name: env.tokenFile, value: `${TOKEN_FOLDER}/token` },
            { name: env.cpuMillis, valueFrom: { resourceFieldRef: { containerName: WORKER_CONTAINER, resource: 'limits.cpu', divisor: '1m' } } },
            { name: env.healthPort, value: `${HEALTH_PORT}` },
            { name: env.terminationLog, value: '/dev/termination-log' },
            { name: env.logLevel, value: settings.logLevel },
            ...keysOf('input', input.s3?.credentialsSecret),
            ...keysOf('output', output.s3?.credentialsSecret),
          ],
          ports: [{ name: 'health', containerPort: HEALTH_PORT }],
          resources: workerResources(job, settings),
          securityContext: {
            allowPrivilegeEscalation: false,
            readOnlyRootFilesystem: true,
            capabilities: { drop: ['ALL'] },
          },
          readinessProbe: { httpGet: { path: '/readyz', port: 'health' }, periodSeconds: 5, timeoutSeconds: 3 },
          livenessProbe: { httpGet: { path: '/healthz', port: 'health' }, initialDelaySeconds: 10, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6 },
          volumeMounts,
        },
      ],
      volumes,
    },
  };
  return pod;
}

/**
 * The keys of an S3 store, as references: the operator never reads them. Not as mounted files, because only for
 * variables the kubelet says in the pod's status which Secret or key is missing; a container that starts again has
 * what the Secret holds then.
 */
function keysOf(direction: keyof typeof s3Env, secret: string | undefined): object[] {
  if (secret === undefined) return [];
  const { accessKeyId, secretAccessKey, sessionToken } = s3Env[direction];
  const ref = (name: string, key: string, optional = false): object => ({ name, valueFrom: { secretKeyRef: { name: secret, key, optional } } });
  return [ref(accessKeyId, 'AWS_ACCESS_KEY_ID'), ref(secretAccessKey, 'AWS_SECRET_ACCESS_KEY'), ref(sessionToken, 'AWS_SESSION_TOKEN', true)];
}

/** Requests and limits of a worker: the job's, completed from the settings; what has only one of the two gets both. No GPU unless one is used. */
export function workerResources(
  job: StoredBatchJob,
  settings: Pick<WorkerSettings, 'defaultResources'>,
): { requests: Record<string, string | number>; limits: Record<string, string | number> } {
  const given = job.spec.workers.resources ?? {};
  const gpu = usesGpu(job);
  const complete = (...lists: (Record<string, string | number> | undefined)[]): Record<string, string | number> => {
    const all: Record<string, string | number> = Object.assign({ ...settings.defaultResources, ...(gpu ? { [GPU]: 1 } : {}) }, ...lists);
    return Object.fromEntries(Object.entries(all).filter(([resource]) => gpu || resource !== GPU));
  };
  return { requests: complete(given.limits, given.requests), limits: complete(given.requests, given.limits) };
}

function placement(spread: Spread, jobUid: string): object {
  const labelSelector = { matchLabels: { [labels.jobUid]: jobUid } };
  const topologyKey = 'kubernetes.io/hostname';
  if (spread === 'any-node') {
    return { topologySpreadConstraints: [{ maxSkew: 1, topologyKey, whenUnsatisfiable: 'ScheduleAnyway', labelSelector }] };
  }
  return { affinity: { podAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ labelSelector, topologyKey }] } } };
}
