import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';

const root = resolve(import.meta.dirname, '../../..');
const read = (path: string): string => readFileSync(join(root, path), 'utf8');
const pins = read('inference-pod/cuda/requirements.txt').split('\n').filter((line) => line !== '' && !line.startsWith('#'));

test('the CUDA image takes the version of ONNX Runtime that the worker is made for', () => {
  const { dependencies } = JSON.parse(read('package.json')) as { dependencies: Record<string, string> };
  expect(pins.find((line) => line.startsWith('onnxruntime-gpu=='))?.split(/==| /)[1]).toBe(dependencies['onnxruntime-node']);
});

test('each of its libraries is pinned by version and digest', () => {
  expect(pins.length).toBeGreaterThan(1);
  for (const line of pins) expect(line).toMatch(/^[a-z0-9-]+==\d+(\.\d+)+ --hash=sha256:[0-9a-f]{64}$/);
});

test('its Dockerfile takes nothing from the network but on purpose', () => {
  const dockerfile = read('inference-pod/Dockerfile');
  expect(dockerfile).toMatch(/^ARG ACCELERATOR=cpu$/m);
  expect(dockerfile).toContain('cpu) ;;');
  const [libraries, program] = dockerfile.split(/^FROM \$\{BASE_IMAGE\}$/m);
  expect(libraries?.match(/^RUN /gm)).toHaveLength(1);
  const commands = program?.match(/^RUN (?:.*\\\n)*.*$/gm) ?? [];
  expect(commands).toHaveLength(2);
  for (const command of commands) expect(command).not.toMatch(/apt-get|pip|npm|curl|wget|https?:/);
});
