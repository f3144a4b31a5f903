import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadConfig } from '../../../operator/config.ts';

const folder = mkdtempSync(join(tmpdir(), 'millrace-config-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const pod = { POD_NAMESPACE: 'millrace-system', POD_NAME: 'millrace-0', POD_IP: '10.0.0.1' };

function load(text: string, env: Record<string, string> = pod): ReturnType<typeof loadConfig> {
  const path = join(folder, 'operator.yaml');
  writeFileSync(path, text);
  return loadConfig(['--config', path], env);
}

describe('the configuration', () => {
  it('needs only the worker image; the rest has defaults, and the pod says who it is', () => {
    expect(load('workerImage: w:1')).toMatchObject({
      workerImage: 'w:1',
      workerImagePullPolicy: 'IfNotPresent',
      workerDefaults: { resources: { cpu: '500m', memory: '512Mi' } },
      syncServiceName: 'millrace-sync',
      syncPort: 9443,
      caSecret: { name: 'millrace-sync-ca', create: true },
      namespace: 'millrace-system',
      podName: 'millrace-0',
      podIP: '10.0.0.1',
    });
  });

  it('in config/operator.yaml shows the defaults as they are', () => {
    const shown = loadConfig([], { ...pod, MILLRACE_CONFIG: join(import.meta.dirname, '../../../config/operator.yaml') });
    expect(shown).toEqual(load(`workerImage: ${shown.workerImage}`));
  });

  it.each([
    ['', /workerImage: required/],
    ['workerImage: w\nsyncPort: 80', /syncPort: got 80, must be >= 1024/],
    ['workerImage: w\nsyncport: 9443', /syncport: unknown field/],
    ['workerImage: w\nlogLevel: loud', /logLevel: got "loud", must be debug, info, warn or error/],
    ['workerImage: w\ncaSecret: {create: maybe}', /caSecret\.create: got "maybe", must be a boolean/],
    ['- a list', /must be an object/],
    ['a: [', /is no YAML/],
  ])('%j is refused with the place and the reason', (text, message) => {
    expect(() => load(text)).toThrow(message);
  });

  it('that is not there, not named, or given twice over is refused in a sentence', () => {
    expect(() => loadConfig([], pod)).toThrow('give --config <file> or set MILLRACE_CONFIG');
    expect(() => loadConfig(['--config', join(folder, 'none.yaml')], pod)).toThrow(/none\.yaml cannot be read/);
    expect(() => loadConfig(['--confg', 'x'], pod)).toThrow(/Only --config <file> is known/);
  });

  it('outside of a pod names the variable that is missing', () => {
    expect(() => load('workerImage: w', { POD_NAMESPACE: 'x', POD_NAME: 'y' })).toThrow('POD_IP is not set');
  });
});
