import { describe, expect, test } from 'vitest';
import { FatalError } from '../../../inference-pod/fatal.ts';
import { asFault } from '../../../inference-pod/stores/s3/faults.ts';
import type { S3Access } from '../../../inference-pod/stores/s3/place.ts';
import { Unreachable } from '../../../inference-pod/stores/store.ts';

const access: S3Access = { field: 'spec.output.s3', bucket: 'b', region: 'r', endpoint: 'http://s3:9000', pathStyle: true, credentials: { accessKeyId: 'k', secretAccessKey: 's' } };

/** An error as the SDK throws it. */
function answered(status: number, code: string): Error {
  return Object.assign(new Error(`about ${code}`), { name: code, $metadata: { httpStatusCode: status } });
}

describe('a failed request to S3', () => {
  test.each([
    [403, 'AccessDenied', 'AccessDenied', 'spec.output.s3: access to bucket "b" is denied'],
    [403, 'InvalidAccessKeyId', 'AccessDenied', 'spec.output.s3.credentialsSecret: its keys are not taken'],
    [400, 'ExpiredToken', 'AccessDenied', 'spec.output.s3.credentialsSecret'],
    [404, 'NoSuchBucket', 'OutputUnusable', 'spec.output.s3.bucket: there is no bucket "b"'],
    [301, 'PermanentRedirect', 'OutputUnusable', 'spec.output.s3.region is "r"'],
    [501, 'NotImplemented', 'OutputUnusable', 'the server lacks what is needed'],
    [400, 'InvalidBucketName', 'OutputUnusable', 'spec.output.s3: the server answered 400 InvalidBucketName'],
    [200, 'SyntaxError', 'OutputUnusable', 'spec.output.s3.endpoint "http://s3:9000": the answer is not that of an S3 server'],
  ])('that was answered with %i %s ends the job', (status, code, reason, sentence) => {
    const fault = asFault(answered(status, code), access, false);
    expect(fault).toBeInstanceOf(FatalError);
    expect(fault).toMatchObject({ code: reason, message: expect.stringContaining(sentence) as unknown });
  });

  test.each([
    [503, 'SlowDown'],
    [500, 'InternalError'],
    [429, 'TooManyRequests'],
    [408, 'RequestTimeout'],
    [400, 'RequestTimeout'],
    [409, 'OperationAborted'],
  ])('that was answered with %i %s may go well after a restart', (status, code) => {
    expect(asFault(answered(status, code), access, false)).not.toBeInstanceOf(FatalError);
  });

  test('whose keys were taken before makes the worker start again, with what the Secret holds by then', () => {
    expect(asFault(answered(403, 'InvalidAccessKeyId'), access, true)).not.toBeInstanceOf(FatalError);
    expect(asFault(answered(403, 'AccessDenied'), access, true)).toBeInstanceOf(FatalError);
  });

  test('that had no answer says where it went', () => {
    const fault = asFault(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED', $metadata: { attempts: 10 } }), access, false);
    expect(fault).toBeInstanceOf(Unreachable);
    expect((fault as Error).message).toBe('spec.output.s3: endpoint "http://s3:9000" cannot be reached: ECONNREFUSED: connect ECONNREFUSED');
  });
});
