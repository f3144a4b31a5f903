import { describe, expect, test } from 'vitest';
import { firstObstacle } from '../../../operator/batchjob/admission.ts';
import type { Observed, TenantView, Toleration } from '../../../operator/batchjob/observe.ts';
import { aBatchJob, aClaim, at, aTenantView, observed, someSettings, without } from '../../support/builders.ts';

const job = aBatchJob();
const obstacle = (seen: Observed, builder = job) => firstObstacle(builder.build(), seen);

test('a job of a ready tenant whose claims exist is admitted', () => {
  expect(obstacle(observed())).toBeUndefined();
});

test('a namespace that is nobody\'s is refused, and the way out is told', () => {
  expect(obstacle(without(observed(), 'tenant'))).toEqual({
    reason: 'NotATenantNamespace',
    message: 'namespace "acme" belongs to no Tenant; create the BatchJob in a tenant\'s namespace (kubectl get tenants)',
    stalled: true,
  });
});

describe('the tenant', () => {
  const tenant = (patch: Partial<TenantView>, builder = job) => obstacle(observed({ tenant: aTenantView(patch) }), builder);

  test('that is not ready is waited for', () => {
    expect(tenant({ ready: false })).toMatchObject({ reason: 'TenantNotReady', stalled: false, message: 'tenant "acme" is not ready: its namespace is being set up' });
    expect(tenant({ ready: false, message: 'namespace taken' })?.message).toContain('namespace taken');
  });

  test('that is being deleted admits nothing, ready or not', () => {
    expect(tenant({ terminating: true, ready: false })).toMatchObject({ reason: 'TenantTerminating', stalled: true });
  });

  test('that is cordoned admits nothing new, but lets what has started go on', () => {
    expect(tenant({ cordoned: true })).toMatchObject({ reason: 'TenantCordoned', stalled: false });
    expect(tenant({ cordoned: true }, aBatchJob().status({ startTime: at(-5) }))).toBeUndefined();
  });

  test('sets node labels that a job may repeat or add to, not change', () => {
    const asks = (nodeSelector: Record<string, string>) => tenant({ nodeSelector: { pool: 'a' } }, aBatchJob().with({ workers: { nodeSelector } }));
    expect(asks({ pool: 'a', disk: 'ssd' })).toBeUndefined();
    expect(asks({ pool: 'b' })).toMatchObject({ reason: 'SchedulingNotAllowed', message: 'spec.workers.nodeSelector: pool=b conflicts with the tenant\'s pool=a; remove it', stalled: true });
  });

  test('lists the tolerations that a job may ask for', () => {
    const asks = (wanted: Toleration, allowed: Toleration[]) => tenant({ tolerations: allowed }, aBatchJob().with({ workers: { tolerations: [wanted] as never } }));
    const gpu: Toleration = { key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' };
    expect(asks(gpu, [gpu])).toBeUndefined();
    expect(asks({ key: 'team', value: 'a' }, [{ key: 'team', operator: 'Equal', value: 'a' }])).toBeUndefined();
    expect(asks({ operator: 'Exists' }, [gpu])?.message).toBe('spec.workers.tolerations: * is not in the tenant\'s spec.scheduling.tolerations; remove it or ask the platform team to allow it');
    expect(asks({ ...gpu, effect: 'NoExecute' }, [gpu])?.message).toContain('nvidia.com/gpu:NoExecute');
  });
});

describe('a model image', () => {
  const asks = (tenant: string[], platform: string[] = []) => obstacle({ ...observed({ tenant: aTenantView({ allowedModelImages: tenant }) }), settings: { ...someSettings, allowedModelImages: platform } });

  test('that begins as the tenant and the platform team allow is admitted', () => {
    expect(asks([])).toBeUndefined();
    expect(asks(['registry.example/digits'], ['registry.example'])).toBeUndefined();
  });

  test('that does not is refused with what would be allowed', () => {
    expect(asks(['registry.example/acme', 'other.test'])).toEqual({
      reason: 'ModelImageNotAllowed',
      message: 'spec.model.image: "registry.example/digits:v3" is not allowed for tenant "acme", only what begins with registry.example/acme or other.test; use such an image in a new BatchJob or ask the platform team to allow this one',
      stalled: true,
    });
    expect(asks([], ['models.test'])?.reason).toBe('ModelImageNotAllowed');
    expect(asks(['registry.example'], ['models.test'])?.message).toContain('begins with models.test;');
  });

  test('is no matter of a job whose model is on a volume', () => {
    expect(obstacle(observed({ tenant: aTenantView({ allowedModelImages: ['models.test'] }) }), aBatchJob().with({ model: { image: undefined, volume: { claimName: 'data' } } as object }))).toBeUndefined();
  });
});

describe('a claim', () => {
  const withClaim = (patch: object, modes = ['ReadWriteMany']) => obstacle(observed({ claims: new Map([['data', { ...aClaim(...modes), ...patch }]]) }));

  test('that does not exist is named with its field', () => {
    expect(obstacle(observed({ claims: new Map() }))).toEqual({
      reason: 'VolumeClaimNotFound',
      message: 'spec.input.volume.claimName: PersistentVolumeClaim "data" does not exist in namespace "acme"; create it',
      stalled: true,
    });
    const models = aBatchJob().with({ model: { image: undefined, volume: { claimName: 'models' } } as never });
    expect(obstacle(observed(), models)?.message).toMatch(/^spec.model.volume.claimName: PersistentVolumeClaim "models" does not exist/);
  });

  test('that is going or lost is refused', () => {
    expect(withClaim({ terminating: true })?.reason).toBe('VolumeClaimTerminating');
    expect(withClaim({ phase: 'Lost' })?.reason).toBe('VolumeClaimLost');
  });

  test('that waits for its first pod is fine', () => {
    expect(withClaim({ phase: 'Pending' })).toBeUndefined();
  });

  test('that can only be read takes no output', () => {
    expect(withClaim({}, ['ReadOnlyMany'])).toMatchObject({ reason: 'VolumeClaimReadOnly', stalled: true });
    const other = aBatchJob().with({ input: { volume: { claimName: 'inputs' } } });
    expect(obstacle(observed({ claims: new Map([['data', aClaim('ReadWriteMany')], ['inputs', aClaim('ReadOnlyMany')]]) }), other)).toBeUndefined();
  });
});

test('input that cannot be copied is told as it was found', () => {
  expect(obstacle(observed({ inputCopy: { kind: 'missing', reason: 'ConfigMapNotFound', message: 'no such ConfigMap' } }))).toEqual({ reason: 'ConfigMapNotFound', message: 'no such ConfigMap', stalled: true });
});
