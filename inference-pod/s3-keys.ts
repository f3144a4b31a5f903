import { s3Env } from './contract.ts';

export interface S3Credentials {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
}

/** Keys of the stores that are in S3. */
export interface S3Keys {
  input?: S3Credentials;
  output?: S3Credentials;
}

/** Takes the keys out of `environment`, so that nothing that comes later can tell them. */
export function takeS3Keys(environment: Record<string, string | undefined> = process.env): S3Keys {
  return { ...takeOf('input', environment), ...takeOf('output', environment) };
}

function takeOf(direction: keyof typeof s3Env, environment: Record<string, string | undefined>): S3Keys {
  const take = (name: string): string => {
    // A file that the Secret was made from often ends with a newline.
    const value = environment[name]?.trim() ?? '';
    delete environment[name];
    return value;
  };
  const names = s3Env[direction];
  const [accessKeyId, secretAccessKey, sessionToken] = [take(names.accessKeyId), take(names.secretAccessKey), take(names.sessionToken)];
  if (accessKeyId === '' || secretAccessKey === '') return {};
  return { [direction]: { accessKeyId, secretAccessKey, ...(sessionToken === '' ? {} : { sessionToken }) } };
}
