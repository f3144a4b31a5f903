// @peculiar/x509 resolves its parsers through decorator metadata: the polyfill has to be loaded first.
import 'reflect-metadata';
import { createPrivateKey, KeyObject, webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';

/** A certificate and its private key, both PEM. */
export interface Credentials {
  cert: string;
  key: string;
}

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
const day = 24 * 3_600_000;
const caLifetime = 3_650 * day;
const leafLifetime = 30 * day;
/** For the clocks of nodes that are a little behind. */
const backdate = 5 * 60_000;

x509.cryptoProvider.set(webcrypto as unknown as Crypto);

type Crypto = Exclude<Parameters<typeof x509.cryptoProvider.set>[0], string>;
type CryptoKey = webcrypto.CryptoKey;

/** A certificate authority of our own. `now`: milliseconds since the epoch. */
export async function makeCa(now: number): Promise<Credentials> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    name: 'CN=millrace-sync-ca',
    notBefore: new Date(now - backdate),
    notAfter: new Date(now + caLifetime),
    signingAlgorithm: algorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: certificate.toString('pem'), key: pemOf(keys.privateKey) };
}

/**
 * A server certificate for these names and addresses; `cert` holds the leaf alone, clients know the CA.
 * @throws TypeError when `ca` is not a PEM certificate with its EC P-256 key
 */
export async function issueLeaf(ca: Credentials, dnsNames: readonly string[], ips: readonly string[], now: number): Promise<Credentials> {
  const issuer = parse(ca.cert);
  const signingKey = await importKey(ca.key);
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: 'CN=millrace-sync',
    issuer: issuer.subject,
    notBefore: new Date(Math.max(now - backdate, issuer.notBefore.getTime())),
    notAfter: new Date(Math.min(now + leafLifetime, issuer.notAfter.getTime())),
    signingAlgorithm: algorithm,
    publicKey: keys.publicKey,
    signingKey,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([
        ...dnsNames.map((value) => ({ type: 'dns', value }) as const),
        ...ips.map((value) => ({ type: 'ip', value }) as const),
      ]),
      await x509.AuthorityKeyIdentifierExtension.create(await issuer.publicKey.export()),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: certificate.toString('pem'), key: pemOf(keys.privateKey) };
}

/** When two thirds of its life are over: milliseconds since the epoch. */
export function renewalTime(cert: string): number {
  const { notBefore, notAfter } = parse(cert);
  return notBefore.getTime() + ((notAfter.getTime() - notBefore.getTime()) * 2) / 3;
}

export function renewalDue(cert: string, now: number): boolean {
  return now >= renewalTime(cert);
}

function parse(pem: string): x509.X509Certificate {
  try {
    return new x509.X509Certificate(pem);
  } catch (error) {
    throw new TypeError('the CA certificate is not a PEM certificate', { cause: error });
  }
}

async function generateKeys(): Promise<{ publicKey: CryptoKey; privateKey: CryptoKey }> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  return keys as webcrypto.CryptoKeyPair;
}

function pemOf(key: CryptoKey): string {
  return KeyObject.from(key).export({ type: 'pkcs8', format: 'pem' }).toString();
}

function importKey(pem: string): Promise<CryptoKey> {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (error) {
    throw new TypeError('the CA key is not a PEM private key', { cause: error });
  }
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('the CA key is not an EC key on the curve P-256');
  return webcrypto.subtle.importKey('pkcs8', key.export({ type: 'pkcs8', format: 'der' }), algorithm, false, ['sign']);
}
