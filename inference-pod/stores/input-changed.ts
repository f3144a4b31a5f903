import { FatalError } from '../fatal.ts';

/** `what` says what happened to the file at `path`, e.g. "is gone". */
export function inputChanged(path: string, what: string): FatalError {
  return new FatalError('InputInvalid', `input changed: "${path}" ${what} since the job began; inputs must stay as they are until the job is finished`);
}
