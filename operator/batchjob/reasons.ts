import type { FatalCode } from '../../inference-pod/contract.ts';
import type { Reason } from '../scheduler/result.ts';

/** Why a job may not have workers, or not yet: reasons of Reconciling and Stalled, and of Warning events. */
export type ObstacleReason =
  | 'Duplicate'
  | 'NotATenantNamespace'
  | 'TenantNotReady'
  | 'TenantTerminating'
  | 'TenantCordoned'
  | 'ModelImageNotAllowed'
  | 'SchedulingNotAllowed'
  | 'VolumeClaimNotFound'
  | 'VolumeClaimTerminating'
  | 'VolumeClaimLost'
  | 'VolumeClaimReadOnly'
  | 'ConfigMapNotFound'
  | 'ConfigMapKeyNotFound'
  | 'WaitingForQuota'
  | 'ExceedsQuota'
  | 'PodRefused'
  | 'NameTaken';

/** Why the scheduler holds a job back. */
export type WaitingReason = Exclude<Reason, 'Running' | 'LeftToKueue' | 'Suspended' | 'UnknownTenant'>;

/** Why worker pods that exist do not run. */
export type PendingReason = 'ImagePullFailed' | 'WorkerNotStarted' | 'Unschedulable' | 'WaitingForKueue' | 'WorkerCrashing';

/** Why a job fails: reasons of FailureTarget and Failed. */
export type FailureReason =
  | FatalCode
  | 'ShardFailed'
  | 'PlanFailed'
  | 'FinishFailed'
  | 'TooManyFailedItems'
  | 'OutOfMemory'
  | 'IdempotencyKeyReused'
  | 'DeadlineExceeded'
  | 'ImagePullFailed';

/** Reasons of Normal events, and of the warnings that workers tell. */
export type ProgressReason = 'WorkersCreated' | 'Planned' | 'Suspended' | 'Resumed' | 'Completed' | 'WorkerWarning';
