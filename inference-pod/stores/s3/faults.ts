import type { FatalCode } from '../../contract.ts';
import { errnoOf, FatalError, messageOf } from '../../fatal.ts';
import { Unreachable } from '../store.ts';
import type { S3Access } from './place.ts';

/** The error code of an answer (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), '' where there is none. */
export function codeOf(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

/** HTTP status of the answer; undefined where none came. */
export function statusOf(error: unknown): number | undefined {
  return (error as { $metadata?: { httpStatusCode?: number } } | null)?.$metadata?.httpStatusCode;
}

/** About the keys themselves, whatever was asked for. The last is versitygw's. */
const badKeys = new Set(['InvalidAccessKeyId', 'SignatureDoesNotMatch', 'ExpiredToken', 'InvalidToken', 'XAdminUserNotFound']);
/** These pass, though their status is 4xx. */
const passing = new Set(['RequestTimeout', 'SlowDown', 'OperationAborted', 'ConditionalRequestConflict']);

/** Nothing came back, or not from the server that was meant. */
function isOfTheWay(error: unknown): boolean {
  const code = errnoOf(error) ?? '';
  return ['TimeoutError', 'AbortError'].includes(codeOf(error)) || /^(E(?!RR_)[A-Z]+|EAI_.*|ERR_(TLS|SSL)_.*|.*CERT.*|.*SIGNATURE.*)$/.test(code) || /^the answer /.test(messageOf(error));
}

/**
 * What a failed request means: a FatalError with one sentence for what no retry can mend, else an error that a restart
 * may. `known`: the server has taken the keys before, so that others must be in the Secret by now.
 */
export function asFault(error: unknown, access: S3Access, known: boolean): unknown {
  const { field, bucket, region, endpoint } = access;
  const status = statusOf(error);
  const code = codeOf(error);
  const missing: FatalCode = field === 'spec.input.s3' ? 'InputNotFound' : 'OutputUnusable';
  if (error instanceof FatalError) return error;
  if (status === undefined && !isOfTheWay(error)) return error;
  if (status === undefined) {
    const where = endpoint === undefined ? `region "${region}" of AWS` : `endpoint "${endpoint}"`;
    return new Unreachable(missing, `${field}: ${where} cannot be reached: ${errnoOf(error) ?? code}: ${messageOf(error)}`, { cause: error });
  }
  const said = `the server answered ${status} ${code}: ${messageOf(error)}`;
  const wrong: FatalCode = field === 'spec.input.s3' ? 'InputInvalid' : 'OutputUnusable';
  if (badKeys.has(code)) {
    if (known) return new Error(`${field}.credentialsSecret: its keys were taken and are not any more (${said}); starting again with what the Secret holds now`);
    return new FatalError('AccessDenied', `${field}.credentialsSecret: its keys are not taken: ${said}; put valid AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN, if they are temporary) into the Secret`);
  }
  if (status === 401 || status === 403) {
    const needed = field === 'spec.input.s3' ? 's3:GetObject' : 's3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload';
    return new FatalError('AccessDenied', `${field}: access to bucket "${bucket}" is denied: ${said}; the keys in credentialsSecret need s3:ListBucket on the bucket and ${needed} on its objects`);
  }
  if (code === 'NoSuchBucket') return new FatalError(missing, `${field}.bucket: there is no bucket "${bucket}"; create it or correct the name`);
  if (code === 'AuthorizationHeaderMalformed' || code === 'PermanentRedirect') return new FatalError(wrong, `${field}.region is "${region}": ${said}`);
  if (status === 501) return new FatalError(wrong, `${field}: the server lacks what is needed: ${said}`);
  if (status >= 500 || status === 408 || status === 429 || passing.has(code)) return new Error(`${field}: ${said}`, { cause: error });
  if (status < 300) return new FatalError(wrong, `${field}.endpoint "${endpoint}": the answer is not that of an S3 server: ${messageOf(error)}`);
  return new FatalError(wrong, `${field}: ${said}`);
}
