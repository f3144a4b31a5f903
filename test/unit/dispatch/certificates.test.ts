import { X509Certificate } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { issueLeaf, makeCa, renewalDue, renewalTime } from '../../../operator/dispatch/certificates.ts';

const day = 86_400_000;
const now = Date.UTC(2026, 10, 23);

describe('certificates', () => {
  it('a CA of ten years signs a server certificate of thirty days for the names and addresses given', async () => {
    const ca = await makeCa(now);
    const leaf = await issueLeaf(ca, ['millrace-sync.millrace-system.svc', 'localhost'], ['127.0.0.1', '::1'], now);
    const [authority, server] = [new X509Certificate(ca.cert), new X509Certificate(leaf.cert)];
    expect(authority.ca).toBe(true);
    expect(server.ca).toBe(false);
    expect(server.checkIssued(authority)).toBe(true);
    expect(server.verify(authority.publicKey)).toBe(true);
    expect(server.subjectAltName).toBe('DNS:millrace-sync.millrace-system.svc, DNS:localhost, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1');
    expect(server.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
    expect(server.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
    expect(Math.round((Date.parse(server.validTo) - now) / day)).toBe(30);
    expect(Math.round((Date.parse(authority.validTo) - now) / day)).toBe(3_650);
  });

  it('are due for renewal at two thirds of their life', async () => {
    const { cert } = await issueLeaf(await makeCa(now), ['localhost'], [], now);
    expect(Math.round((renewalTime(cert) - now) / day)).toBe(20);
    expect(renewalDue(cert, now + 19.9 * day)).toBe(false);
    expect(renewalDue(cert, now + 20.1 * day)).toBe(true);
  });

  it('never outlive their CA', async () => {
    const ca = await makeCa(now);
    const { cert } = await issueLeaf(ca, ['localhost'], [], now + 3_640 * day);
    expect(new X509Certificate(cert).validTo).toBe(new X509Certificate(ca.cert).validTo);
  });

  it('a CA that is none is refused with a reason', async () => {
    const ca = await makeCa(now);
    await expect(issueLeaf({ cert: 'nothing', key: ca.key }, [], [], now)).rejects.toThrow('the CA certificate is not a PEM certificate');
    await expect(issueLeaf({ cert: ca.cert, key: 'nothing' }, [], [], now)).rejects.toThrow('the CA key is not a PEM private key');
  });
});
