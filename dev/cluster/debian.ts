import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { sh, StepError, step } from '../step.ts';
import { cacheDir, digest, ensurePath } from './cache.ts';
import { aptInstall, docker, imageId } from './docker.ts';

export type DebianBase = {
  name: string;
  packages: readonly string[];
  /** mmdebstrap hooks, run when the packages are installed; `$1` is the root folder. */
  hooks?: readonly string[];
  /** Packages whose files are unpacked without their dependencies. */
  unpackOnly?: readonly string[];
  /** Files of this machine to copy: path in the image → path here. Where they lie here does not change the image's name: say in `salt` what they are. */
  programs?: Record<string, string>;
  /** What else the result depends on. */
  salt?: string;
};

const suite = 'bookworm'; // Debian 13's systemd does not start on cgroup v1
const slim = ['doc', 'man', 'locale', 'info', 'lintian', 'bug'].map((dir) => `--dpkgopt=path-exclude=/usr/share/${dir}/*`);

/** Names what a base is made of. */
export const baseKey = (base: DebianBase): string => digest(suite, JSON.stringify({ ...base, programs: Object.keys(base.programs ?? {}) }), slim.join(' '));

/** A minimal Debian root file system as a tar file, from Debian packages alone. Kept in the cache folder. */
export async function debianTar(base: DebianBase): Promise<string> {
  const path = join(cacheDir(), 'debian', `${base.name}-${baseKey(base)}.tar`);
  return ensurePath(path, (partial) =>
    step(`Debian packages for the ${base.name} image`, async () => {
      await ensureMmdebstrap();
      const unpack = (base.unpackOnly ?? []).flatMap((name) => [
        `--customize-hook=chroot "$1" sh -c "cd /tmp && apt-get update -q && apt-get download ${name}" && dpkg-deb -x "$1"/tmp/${name}_*.deb "$1" && rm "$1"/tmp/${name}_*.deb`,
      ]);
      const copies = Object.entries(base.programs ?? {}).map(([to, from]) => `install -D -m 755 '${from}' "$1"'${to}'`);
      const hooks = [...copies, ...(base.hooks ?? []), 'rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/* "$1"/var/cache/debconf/*-old'];
      await sh('mmdebstrap', ['--quiet', '--variant=minbase', '--format=tar', `--include=${base.packages.join(',')}`, ...slim, ...unpack,
        ...hooks.map((hook) => `--customize-hook=${hook}`), suite, partial], { timeout: 900_000, nice: true });
    }));
}

/** The same as a Docker image; returns its reference. */
export async function debianImage(base: DebianBase): Promise<string> {
  const ref = `millrace.local/base-${base.name}:${baseKey(base)}`;
  if ((await imageId(ref)) === undefined) await docker(['import', await debianTar(base), ref]);
  return ref;
}

let installing: Promise<void> | undefined;
function ensureMmdebstrap(): Promise<void> {
  installing ??= (async () => {
    if (existsSync('/usr/bin/mmdebstrap')) return;
    if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) {
      throw new StepError('Debian packages', 'no image registry answers, and the images can be built here only by mmdebstrap, which is not installed',
        'make a registry reachable (kindest/node and node:24-bookworm-slim are pulled from Docker Hub), or: sudo apt-get install mmdebstrap');
    }
    await aptInstall(['mmdebstrap']);
  })();
  return installing;
}
