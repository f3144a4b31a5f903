import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../..');
const maxLines = 300;
/** Files that have grown beyond that. They may shrink, not grow, and the list may not get longer. */
const grown: Record<string, number> = {
  'operator/dispatch/ledger.ts': 310,
  'operator/kube/client.ts': 540,
  'operator/kube/lease.ts': 325,
  'operator/runtime/controller.ts': 305,
  'operator/runtime/queue.ts': 305,
};

interface Source {
  path: string;
  lines: number;
  /** Repository paths of the files that it imports; packages are left out. */
  imports: { path: string; typeOnly: boolean }[];
}

const statement = /^\s*(?:import|export)\s+(type\s+)?(?:[^'"]*?\sfrom\s+)?['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|new URL\(\s*['"]([^'"]+\.ts)['"]/gm;

function read(folder: string): Source[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
    .map((name) => {
      const path = join(folder, name);
      const text = readFileSync(join(root, path), 'utf8');
      const imports = [...text.matchAll(statement)].flatMap((match) => {
        const target = match[2] ?? match[3] ?? match[4] ?? '';
        return target.startsWith('.') ? [{ path: relative(root, resolve(root, dirname(path), target)), typeOnly: match[1] !== undefined }] : [];
      });
      return { path, lines: text.split('\n').length - 1, imports };
    });
}

const programs = ['operator', 'inference-pod', 'kit'].flatMap(read);
const everything = [...programs, ...['crds', 'dev', 'test', 'config'].flatMap(read)];

/** Imports from `folder` that `allowed` does not let through, as `from -> to`. */
function strays(folder: string, allowed: (target: string, from: string) => boolean): string[] {
  return programs
    .filter(({ path }) => path.startsWith(`${folder}/`))
    .flatMap(({ path, imports }) => imports.filter((target) => !allowed(target.path, path)).map((target) => `${path} -> ${target.path}`));
}

const within = (...folders: string[]) => (target: string): boolean => folders.some((folder) => target.startsWith(`${folder}/`) || target === folder);

describe('imports point one way', () => {
  test('the imports are found at all', () => {
    expect(programs.length).toBeGreaterThan(50);
    expect(programs.flatMap(({ imports }) => imports).length).toBeGreaterThan(100);
  });

  test('kit knows neither program', () => expect(strays('kit', within('kit'))).toEqual([]));

  test('the worker knows itself and kit', () => expect(strays('inference-pod', within('inference-pod', 'kit'))).toEqual([]));

  test('the worker knows its stores by their interfaces: one file picks them', () => {
    const kinds = ['inference-pod/stores/volume', 'inference-pod/stores/s3'];
    const allowed = (target: string, from: string): boolean => !within(...kinds)(target) || kinds.some((kind) => dirname(from) === kind && dirname(target) === kind) || from === 'inference-pod/stores/open-stores.ts';
    expect(strays('inference-pod', allowed)).toEqual([]);
  });

  test('the contract stands alone', () => {
    expect(programs.find(({ path }) => path === 'inference-pod/contract.ts')?.imports).toEqual([]);
  });

  test('the operator knows only the contract of the worker', () => {
    expect(strays('operator', within('operator', 'kit', 'config', 'inference-pod/contract.ts'))).toEqual([]);
  });

  test('api stands on kit alone, and knows the shape of an object', () => {
    expect(strays('operator/api', within('operator/api', 'operator/kube/object.ts', 'kit'))).toEqual([]);
  });

  test('kube stands on api and kit', () => expect(strays('operator/kube', within('operator/kube', 'operator/api', 'kit'))).toEqual([]));

  test('runtime stands on kube and knows no kind', () => {
    const allowed = within('operator/runtime', 'operator/kube', 'operator/api/names.ts', 'operator/api/conditions.ts', 'kit');
    expect(strays('operator/runtime', allowed)).toEqual([]);
  });

  test('dispatch knows nothing of the API server', () => {
    expect(strays('operator/dispatch', within('operator/dispatch', 'kit', 'inference-pod/contract.ts'))).toEqual([]);
  });

  test('tenant does not know batchjob or dispatch', () => {
    expect(strays('operator/tenant', within('operator/tenant', 'operator/runtime', 'operator/kube', 'operator/api', 'kit'))).toEqual([]);
  });

  test('batchjob does not know tenant', () => {
    const allowed = within('operator/batchjob', 'operator/scheduler', 'operator/dispatch', 'operator/runtime', 'operator/kube', 'operator/api', 'kit', 'inference-pod/contract.ts');
    expect(strays('operator/batchjob', allowed)).toEqual([]);
  });

  test('the scheduler is pure: it knows plain objects only', () => {
    expect(strays('operator/scheduler', within('operator/scheduler', 'operator/api', 'operator/kube/object.ts', 'kit'))).toEqual([]);
  });

  test('no folder of a program imports from dev, test or crds', () => {
    expect(programs.flatMap(({ path, imports }) => imports.filter((target) => /^(dev|test|crds)\//.test(target.path)).map((target) => `${path} -> ${target.path}`))).toEqual([]);
  });
});

describe('files stay readable', () => {
  test(`none outside of test/ has more than ${maxLines} lines`, () => {
    const long = everything.filter(({ path }) => !path.startsWith('test/')).filter(({ path, lines }) => lines > (grown[path] ?? maxLines) && !path.endsWith('.gen.ts')).map(({ path, lines }) => `${path}: ${lines}`);
    expect(long).toEqual([]);
  });

  test('none is called utils, helpers, common or misc', () => {
    expect(everything.filter(({ path }) => /(^|\/)(utils?|helpers?|common|misc)(\.ts|\/)/.test(path)).map(({ path }) => path)).toEqual([]);
  });
});

test('the npm scripts that the documentation names exist', () => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
  const documents = ['README.md', ...(existsSync(join(root, 'docs')) ? readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).map((name) => join('docs', name)) : [])]
    .filter((name) => name.endsWith('.md') && existsSync(join(root, name)));
  const named = documents.flatMap((name) => [...readFileSync(join(root, name), 'utf8').matchAll(/npm run ([a-z][\w:-]*)/g)].map((match) => match[1] ?? ''));
  expect([...new Set(named)].filter((name) => scripts[name] === undefined)).toEqual([]);
  for (const command of Object.values(scripts)) {
    const program = /^dev\/run (\S+)/.exec(command)?.[1];
    if (program !== undefined) expect(existsSync(join(root, `dev/${program}.ts`)), `dev/${program}.ts, of "${command}"`).toBe(true);
  }
});
