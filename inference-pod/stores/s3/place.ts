import type { S3Place } from '../../contract.ts';
import type { S3Credentials } from '../../s3-keys.ts';

/** A bucket of an S3 server, with the keys to it. */
export interface S3Access extends S3Place {
  /** The field of the spec that it comes from. */
  field: 'spec.input.s3' | 'spec.output.s3';
  credentials: S3Credentials;
}

