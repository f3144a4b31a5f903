import { type Credentials, makeCa } from '../dispatch/certificates.ts';
import type { KubeClient } from '../kube/client.ts';
import { isAlreadyExists, isNotFound } from '../kube/errors.ts';
import { kinds } from '../kube/kinds.ts';
import type { KubeObject, Stored } from '../kube/object.ts';

interface TlsSecret extends KubeObject {
  type?: string;
  data?: Record<string, string>;
}

/**
 * The CA that signs the sync server's certificates, from a Secret of type kubernetes.io/tls in the operator's namespace.
 * It is made once, by exclusive create, so that replicas that start together agree; one that exists is taken as it is.
 *
 * @throws Error when the Secret exists without `tls.crt` and `tls.key`
 */
export async function loadCa(client: KubeClient, namespace: string, { name, create }: { name: string; create: boolean }, now: number, signal: AbortSignal): Promise<Credentials> {
  const read = async (): Promise<Credentials | undefined> => {
    try {
      return credentialsOf(await client.get<TlsSecret>(kinds.Secret, { namespace, name }, { signal }));
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  };
  const stored = await read();
  if (stored) return stored;
  if (!create) throw new Error(`Secret ${namespace}/${name} does not exist; create it with tls.crt and tls.key, or set caSecret.create`);
  const made = await makeCa(now);
  const secret: TlsSecret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { namespace, name, labels: { 'app.kubernetes.io/managed-by': 'millrace' } },
    type: 'kubernetes.io/tls',
    data: { 'tls.crt': encode(made.cert), 'tls.key': encode(made.key) },
  };
  try {
    return credentialsOf(await client.create(kinds.Secret, secret, { signal }));
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    const winner = await read();
    if (!winner) throw error;
    return winner;
  }
}

function credentialsOf(secret: Stored<TlsSecret>): Credentials {
  const [cert, key] = [secret.data?.['tls.crt'], secret.data?.['tls.key']];
  if (cert === undefined || key === undefined) {
    throw new Error(`Secret ${secret.metadata.namespace}/${secret.metadata.name} needs the keys tls.crt and tls.key with a CA certificate and its EC P-256 key`);
  }
  return { cert: Buffer.from(cert, 'base64').toString('utf8'), key: Buffer.from(key, 'base64').toString('utf8') };
}

const encode = (text: string): string => Buffer.from(text, 'utf8').toString('base64');
