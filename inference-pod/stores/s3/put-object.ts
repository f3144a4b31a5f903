import { PutObjectCommand } from '@aws-sdk/client-s3';
import { sleep } from '../../../kit/backoff.ts';
import type { Bucket } from './bucket.ts';
import { codeOf } from './faults.ts';

const conflictAttempts = 10;

/** `parts` as one object. Without `replace` only if there is none; false: there was, or the answer to an earlier try was lost. */
export async function putObject(bucket: Bucket, key: string, parts: readonly Uint8Array[], replace: boolean): Promise<boolean> {
  const body = Buffer.concat(parts);
  const command = new PutObjectCommand({ Bucket: bucket.access.bucket, Key: key, Body: body, ...(replace ? {} : { IfNoneMatch: '*' }) });
  for (let attempt = 1; ; attempt++) {
    try {
      await bucket.request((client, options) => client.send(command, options), { bytes: body.length, expected: ['PreconditionFailed', 'ConditionalRequestConflict'] });
      return true;
    } catch (error) {
      if (codeOf(error) === 'PreconditionFailed') return false;
      // Another writer of the same key is at work: which of them wins is not decided yet.
      if (codeOf(error) !== 'ConditionalRequestConflict' || attempt >= conflictAttempts) throw error;
      await sleep(50 * attempt);
    }
  }
}
