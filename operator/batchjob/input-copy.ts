import type { KubeObject } from '../kube/object.ts';
import type { InputCopy, StoredBatchJob } from './observe.ts';
import { inputCopyName, ownerReference } from './pod.ts';
import { INPUT_COPY_KEY } from './worker-spec.ts';

/** The job's own copy of inline or ConfigMap input. A mounted ConfigMap changes live; this one cannot. */
export function inputCopy(job: StoredBatchJob, base64: string): KubeObject {
  const object = {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: inputCopyName(job.metadata.name), namespace: job.metadata.namespace ?? '', ownerReferences: [ownerReference(job)] },
    immutable: true,
    binaryData: { [INPUT_COPY_KEY]: base64 },
  };
  return object;
}

/** The parts of a ConfigMap that are read. */
export interface ConfigMapData {
  data?: Record<string, string>;
  binaryData?: Record<string, string>;
}

/** What is to be copied for a job whose copy does not exist yet; `source` is the ConfigMap that the spec names. */
export function inputToCopy(job: StoredBatchJob, source: ConfigMapData | undefined): InputCopy {
  const { inline, configMap } = job.spec.input;
  if (inline !== undefined) return { kind: 'ready', base64: encoded(inline) };
  if (configMap === undefined) return { kind: 'none' };
  if (!source) {
    return {
      kind: 'missing',
      reason: 'ConfigMapNotFound',
      message: `spec.input.configMap.name: ConfigMap "${configMap.name}" does not exist in namespace "${job.metadata.namespace}"; create it`,
    };
  }
  const text = source.data?.[configMap.key];
  const base64 = text === undefined ? source.binaryData?.[configMap.key] : encoded(text);
  if (base64 !== undefined) return { kind: 'ready', base64 };
  const keys = [...Object.keys(source.data ?? {}), ...Object.keys(source.binaryData ?? {})].sort();
  return {
    kind: 'missing',
    reason: 'ConfigMapKeyNotFound',
    message: `spec.input.configMap.key: ConfigMap "${configMap.name}" has no key "${configMap.key}"; it has ${keys.slice(0, 10).join(', ') || 'none'}`,
  };
}

function encoded(text: string): string {
  return Buffer.from(text, 'utf8').toString('base64');
}
