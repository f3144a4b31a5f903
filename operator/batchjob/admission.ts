import { isFirst } from './duplicate.ts';
import type { Observed, StoredBatchJob, Toleration } from './observe.ts';
import type { ObstacleReason } from './reasons.ts';
import type { Trouble } from './state.ts';
import { isImageAllowed } from './policy/model-image.ts';
import { claimMounts } from './volumes.ts';

/** Why a job may not have new workers now. */
export type Obstacle = Trouble & { reason: ObstacleReason };

type Check = (job: StoredBatchJob, observed: Observed) => Obstacle | undefined;

/** The first obstacle in the way of worker pods, most fundamental first. Workers that run already are left alone by all but the first two. */
export function firstObstacle(job: StoredBatchJob, observed: Observed): Obstacle | undefined {
  for (const check of CHECKS) {
    const obstacle = check(job, observed);
    if (obstacle) return obstacle;
  }
  return undefined;
}

const CHECKS: Check[] = [isFirst, inTenantNamespace, tenantStays, tenantReady, notCordoned, modelImageAllowed, schedulingAllowed, claimsExist, inputCopied];

function inTenantNamespace(job: StoredBatchJob, { tenant }: Observed): Obstacle | undefined {
  if (tenant) return undefined;
  return {
    reason: 'NotATenantNamespace',
    message: `namespace "${job.metadata.namespace}" belongs to no Tenant; create the BatchJob in a tenant's namespace (kubectl get tenants)`,
    stalled: true,
  };
}

function tenantStays(_job: StoredBatchJob, { tenant }: Observed): Obstacle | undefined {
  if (!tenant?.terminating) return undefined;
  return { reason: 'TenantTerminating', message: `tenant "${tenant.name}" is being deleted; its workers are stopped`, stalled: true };
}

function tenantReady(_job: StoredBatchJob, { tenant }: Observed): Obstacle | undefined {
  if (!tenant || tenant.ready) return undefined;
  return { reason: 'TenantNotReady', message: `tenant "${tenant.name}" is not ready: ${tenant.message || 'its namespace is being set up'}`, stalled: false };
}

function notCordoned(job: StoredBatchJob, { tenant }: Observed): Obstacle | undefined {
  // A job that has started is let through to its end.
  if (!tenant?.cordoned || job.status?.startTime !== undefined) return undefined;
  return { reason: 'TenantCordoned', message: `tenant "${tenant.name}" is cordoned: nothing new is admitted until its spec.cordoned is false`, stalled: false };
}

function modelImageAllowed({ spec }: StoredBatchJob, { tenant, settings }: Observed): Obstacle | undefined {
  const { image } = spec.model;
  if (image === undefined) return undefined;
  const allowed = [settings.allowedModelImages, tenant?.allowedModelImages ?? []].find((beginnings) => !isImageAllowed(image, beginnings));
  if (!allowed) return undefined;
  return {
    reason: 'ModelImageNotAllowed',
    message: `spec.model.image: "${image}" is not allowed for tenant "${tenant?.name}", only what begins with ${allowed.join(' or ')}; use such an image in a new BatchJob or ask the platform team to allow this one`,
    stalled: true,
  };
}

function schedulingAllowed(job: StoredBatchJob, { tenant }: Observed): Obstacle | undefined {
  const { nodeSelector = {}, tolerations = [] } = job.spec.workers;
  const foreign = Object.entries(nodeSelector).find(([key, value]) => (tenant?.nodeSelector[key] ?? value) !== value);
  if (foreign) {
    return {
      reason: 'SchedulingNotAllowed',
      message: `spec.workers.nodeSelector: ${foreign[0]}=${foreign[1]} conflicts with the tenant's ${foreign[0]}=${tenant?.nodeSelector[foreign[0]]}; remove it`,
      stalled: true,
    };
  }
  const refused = tolerations.find((toleration) => !tenant?.tolerations.some((allowed) => toText(allowed) === toText(toleration)));
  if (!refused) return undefined;
  return {
    reason: 'SchedulingNotAllowed',
    message: `spec.workers.tolerations: ${toText(refused)} is not in the tenant's spec.scheduling.tolerations; remove it or ask the platform team to allow it`,
    stalled: true,
  };
}

function claimsExist(job: StoredBatchJob, { claims }: Observed): Obstacle | undefined {
  for (const { claimName, readOnly } of claimMounts(job.spec)) {
    const claim = claims.get(claimName);
    const field = fieldOf(job, claimName);
    if (!claim) {
      return {
        reason: 'VolumeClaimNotFound',
        message: `${field}: PersistentVolumeClaim "${claimName}" does not exist in namespace "${job.metadata.namespace}"; create it`,
        stalled: true,
      };
    }
    if (claim.terminating) {
      return { reason: 'VolumeClaimTerminating', message: `${field}: PersistentVolumeClaim "${claimName}" is being deleted`, stalled: true };
    }
    if (claim.phase === 'Lost') {
      return { reason: 'VolumeClaimLost', message: `${field}: PersistentVolumeClaim "${claimName}" has lost its volume`, stalled: true };
    }
    if (!readOnly && claim.accessModes.length > 0 && claim.accessModes.every((mode) => mode === 'ReadOnlyMany')) {
      return {
        reason: 'VolumeClaimReadOnly',
        message: `spec.output.volume.claimName: PersistentVolumeClaim "${claimName}" is ReadOnlyMany, results cannot be written to it; use another claim in a new BatchJob`,
        stalled: true,
      };
    }
  }
  return undefined;
}

function inputCopied(_job: StoredBatchJob, { inputCopy }: Observed): Obstacle | undefined {
  return inputCopy.kind === 'missing' ? { reason: inputCopy.reason, message: inputCopy.message, stalled: true } : undefined;
}

function fieldOf({ spec }: StoredBatchJob, claimName: string): string {
  if (spec.input.volume?.claimName === claimName) return 'spec.input.volume.claimName';
  return spec.output.volume?.claimName === claimName ? 'spec.output.volume.claimName' : 'spec.model.volume.claimName';
}

function toText({ key = '', operator = 'Equal', value = '', effect = '', tolerationSeconds }: Toleration): string {
  const taint = operator === 'Exists' ? key || '*' : `${key}=${value}`;
  return `${taint}${effect === '' ? '' : `:${effect}`}${tolerationSeconds === undefined ? '' : ` for ${tolerationSeconds} s`}`;
}
