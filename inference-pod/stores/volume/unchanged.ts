import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { errnoOf, FatalError } from '../../fatal.ts';
import { PathEscapes, realpathWithin } from '../../paths.ts';
import { inputChanged } from '../input-changed.ts';
import type { PlannedFile } from '../../planning/plan-file.ts';

/**
 * Says whether files of the input still are what the plan saw. Size and time of change decide; where only the time
 * differs (a ConfigMap volume has another one in every pod) the content does, as far as the plan knows its digest.
 */
export class UnchangedFiles {
  readonly #root: string;
  /** Times at which the content was compared and found to be the same, by path. */
  readonly #compared = new Map<string, number>();

  constructor(root: string) {
    this.#root = root;
  }

  /** Throws FatalError when one of `files` differs or is gone. */
  async check(files: readonly PlannedFile[]): Promise<void> {
    for (const file of files) await this.#checkOne(file);
  }

  async #checkOne({ path, size, stamp, sha256 }: PlannedFile): Promise<void> {
    const changed = (what: string): FatalError => inputChanged(path, what);
    try {
      const real = await realpathWithin(this.#root, path);
      const now = await stat(real);
      if (now.size !== size) throw changed(`had ${size} bytes and has ${now.size}`);
      if (now.mtimeMs === stamp || now.mtimeMs === this.#compared.get(path)) return;
      if (sha256 === undefined) throw changed('was written to');
      const hash = createHash('sha256');
      await pipeline(createReadStream(real, { highWaterMark: 1024 * 1024 }), hash);
      if (hash.digest('hex') !== sha256) throw changed('was written to');
      this.#compared.set(path, now.mtimeMs);
    } catch (error) {
      if (error instanceof PathEscapes) throw new FatalError('InputInvalid', `input: ${error.message}`);
      if (errnoOf(error) === 'ENOENT') throw changed('is gone');
      throw error;
    }
  }
}
