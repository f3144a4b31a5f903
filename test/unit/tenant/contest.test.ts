import { describe, expect, it } from 'vitest';
import { afterRestoring, contested, type Contests, restorableIn } from '../../../operator/tenant/contest.ts';
import { contestsAfter, planTenant } from '../../../operator/tenant/plan.ts';
import { aTenant, changes, names, NOW, observed, ownChild, ownNamespace, reportOf } from './fixtures.ts';

const POLICY = 'NetworkPolicy/millrace-default-deny';
const nobody = () => undefined;

/** Restored `times` in a row, `gapMs` apart, the last time at NOW. */
function fought(times: number, gapMs = 1_000, by: (label: string) => string | undefined = nobody): Contests {
  let contests: Contests = new Map();
  for (let n = times - 1; n >= 0; n -= 1) contests = afterRestoring(contests, [POLICY], by, NOW - n * gapMs);
  return contests;
}

describe('an object that is put back again and again', () => {
  it('is put back at once a few times', () => {
    expect(restorableIn(fought(4), POLICY, NOW)).toBeUndefined();
    expect(contested(fought(4), NOW)).toBeUndefined();
  });

  it('is contested from the fifth time on, and put back in growing intervals of at most two minutes', () => {
    expect([5, 6, 7, 8, 9, 20].map((times) => restorableIn(fought(times), POLICY, NOW))).toEqual([10_000, 20_000, 40_000, 80_000, 120_000, 120_000]);
    expect(restorableIn(fought(5), POLICY, NOW + 10_000)).toBe(0);
  });

  it('is forgotten after five quiet minutes', () => {
    expect(contested(fought(9), NOW + 299_999)).toBeDefined();
    expect(contested(fought(9), NOW + 300_000)).toBeUndefined();
    expect(afterRestoring(fought(9), [], nobody, NOW + 300_000).size).toBe(0);
    expect(contested(fought(9, 300_000), NOW)).toBeUndefined();
  });

  it('is told with the name of who changes it, and remembered where one restoration did not show it', () => {
    const contests = afterRestoring(fought(5, 1_000, () => 'gitops'), [POLICY], nobody, NOW);
    expect(contested(contests, NOW)?.message).toContain(`${POLICY} by the field manager "gitops"`);
  });

  it('is looked at again when it may be put back, then when it may have become quiet', () => {
    expect(contested(fought(5), NOW)?.afterMs).toBe(10_000);
    expect(contested(fought(5), NOW + 10_000)?.afterMs).toBe(290_000);
  });
});

describe('a Tenant whose fence somebody fights over', () => {
  const settled = aTenant({}, {}, { state: 'Ready', observedGeneration: 1, conditions: [{ type: 'Ready', status: 'True', reason: 'Ready', message: '', lastTransitionTime: '2026-11-23T11:00:00Z' }] });
  const policy = ownChild(settled, 'networking.k8s.io/v1', 'NetworkPolicy', 'millrace-default-deny');
  const seen = (contests: Contests) => observed({ namespace: ownNamespace(settled), children: [{ ...policy, metadata: { ...policy.metadata, managedFields: [{ manager: 'gitops' }] } }], contests });

  it('counts what was put back, and what was made anew', () => {
    const count = (restored: Parameters<typeof changes>[0]) => contestsAfter(settled, seen(new Map()), changes(restored), NOW).get(POLICY);
    expect(count({ configured: [POLICY] })).toEqual({ restored: 1, lastAt: NOW, by: 'gitops' });
    expect(count({ created: [POLICY] })?.restored).toBe(1);
    expect(count({ unchanged: [POLICY] })).toBeUndefined();
  });

  it('does not count what a change of its own spec makes', () => {
    const changed = { ...settled, metadata: { ...settled.metadata, generation: 2 } };
    expect(contestsAfter(changed, seen(new Map()), changes({ configured: [POLICY] }), NOW).size).toBe(0);
  });

  it('is Stalled, not Ready, and comes back by itself', () => {
    const report = reportOf(planTenant(settled, seen(fought(4)), NOW), { configured: [POLICY] });
    expect(report.status).toMatchObject({ state: 'Failed', conditions: [{ type: 'Ready', status: 'False', reason: 'FieldConflict' }, { type: 'Reconciling', status: 'False' }, { type: 'Stalled', status: 'True' }] });
    expect(report.events).toMatchObject([{ reason: 'Restored' }, { type: 'Warning', reason: 'FieldConflict' }]);
    expect(report.outcome).toEqual({ kind: 'waiting', reason: 'FieldConflict', afterMs: 10_000 });
  });

  it('leaves the contested object alone in between, and no other', () => {
    const wanted = (now: number): string[] => names(planTenant(settled, seen(fought(5)), now).apply);
    expect(wanted(NOW + 9_999)).not.toContain(POLICY);
    expect(wanted(NOW + 9_999)).toContain('NetworkPolicy/millrace-allow-dns');
    expect(planTenant(settled, seen(fought(5)), NOW).remove).toEqual([]);
    expect(wanted(NOW + 10_000)).toContain(POLICY);
  });

  it('goes on counting while it is Stalled', () => {
    const stalled = { ...settled, status: reportOf(planTenant(settled, seen(fought(4)), NOW), { configured: [POLICY] }).status as typeof settled.status } as typeof settled;
    expect(contestsAfter(stalled, seen(fought(5)), changes({ configured: [POLICY] }), NOW).get(POLICY)?.restored).toBe(6);
  });
});
