import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { WorkerSpec } from '../../../inference-pod/contract.ts';
import { SyncServer } from './sync-server.ts';
import { aSpec, aVolume, root, startWorker } from './worker-process.ts';

interface Example {
  settings: Map<string, string>;
  input: string;
  results: string;
  errors: string;
}

/** Each block marked as input, with the blocks of results and errors that follow it. */
function examples(text: string): Example[] {
  const found: Example[] = [];
  for (const [, kind, words = '', content = ''] of text.matchAll(/^```(?:jsonl|csv) (input|results|errors)(.*)\n([\s\S]*?)^```$/gm)) {
    const last = found.at(-1);
    if (kind === 'input') found.push({ settings: new Map(words.trim().split(' ').map((word) => word.split('=') as [string, string])), input: content, results: '', errors: '' });
    else if (last !== undefined) last[kind as 'results' | 'errors'] = content;
  }
  return found;
}

/** Text in which … stands for anything within a line. */
const pattern = (text: string): RegExp => new RegExp(`^${text.split('…').map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('[^\n]*')}$`);

const all = examples(readFileSync(join(root, 'docs/formats.md'), 'utf8'));

describe('the examples of docs/formats.md give what they say:', () => {
  test('they are found', () => expect(all).toHaveLength(4));

  test.each(all)('$settings', async ({ settings, input, results, errors }) => {
    const server = new SyncServer();
    const volume = aVolume();
    try {
      volume.input('in.jsonl', settings.has('packed') ? gzipSync(input) : input);
      const spec = aSpec(volume, settings.get('model') ?? '');
      const task = settings.get('task') as WorkerSpec['model']['task'];
      const worker = startWorker(
        {
          ...spec,
          model: { ...spec.model, task, ...(task === 'text-embedding' ? { embedding: { truncate: false } } : {}) },
          input: { ...spec.input, format: (settings.get('format') ?? 'jsonl') as WorkerSpec['input']['format'] },
        },
        await server.listen(),
      );
      expect(await worker.exit, worker.log()).toBe(0);
      expect(volume.output('results.jsonl')).toMatch(pattern(results));
      expect(volume.output('errors.jsonl')).toMatch(pattern(errors));
    } finally {
      await server.close();
    }
  });
});
