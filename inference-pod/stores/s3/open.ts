import { s3Env, type S3InputPlace, type S3OutputPlace } from '../../contract.ts';
import { FatalError } from '../../fatal.ts';
import type { S3Credentials } from '../../s3-keys.ts';
import { Bucket } from './bucket.ts';
import { S3Input } from './input.ts';
import { S3Output } from './output.ts';

/** Throws FatalError SpecInvalid without credentials. */
export function openS3Input(place: S3InputPlace, credentials: S3Credentials | undefined): S3Input {
  return new S3Input(new Bucket({ ...place, field: 'spec.input.s3', credentials: given(credentials, 'input') }), [place.key, ...place.additionalKeys]);
}

/** Throws FatalError SpecInvalid without credentials. */
export function openS3Output(place: S3OutputPlace, credentials: S3Credentials | undefined): S3Output {
  return new S3Output(new Bucket({ ...place, field: 'spec.output.s3', credentials: given(credentials, 'output') }), place.prefix);
}

function given(credentials: S3Credentials | undefined, direction: keyof typeof s3Env): S3Credentials {
  if (credentials !== undefined) return credentials;
  const { accessKeyId, secretAccessKey } = s3Env[direction];
  throw new FatalError('SpecInvalid', `${accessKeyId} and ${secretAccessKey} are not set, and the ${direction} is in S3`);
}
