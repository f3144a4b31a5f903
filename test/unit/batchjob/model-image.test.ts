import { expect, test } from 'vitest';
import { isImageAllowed } from '../../../operator/batchjob/policy/model-image.ts';

test.each([
  ['registry.example/acme/digits:v3', 'registry.example/acme/'],
  ['registry.example/acme/digits:v3', 'registry.example/acme'],
  ['registry.example/acme/digits:v3', 'registry.example'],
  ['REGISTRY.example/acme/digits:v3', 'registry.example/'],
  ['registry.example:5000/digits', 'registry.example:5000'],
  ['localhost/digits', 'localhost'],
  ['registry.example/acme/digits:v3', 'registry.example/acme/digits'],
  ['registry.example/acme/digits:v3', 'registry.example/acme/digits:v3'],
  [`registry.example/acme/digits@sha256:${'a'.repeat(64)}`, 'registry.example/acme/digits'],
  ['digits:v3', 'docker.io/library/digits'],
  ['digits', 'docker.io'],
  ['acme/digits', 'docker.io/acme/'],
  ['docker.io/digits', 'docker.io/library/'],
  ['index.docker.io/acme/digits', 'docker.io/acme'],
  ['acme/digits', 'acme/'],
])('%s begins with %s', (image, beginning) => expect(isImageAllowed(image, [beginning])).toBe(true));

test.each([
  ['registry.example/acme-evil/digits', 'registry.example/acme'],
  ['registry.example.evil.test/acme/digits', 'registry.example'],
  ['registry.example:5000/acme/digits', 'registry.example'],
  ['evil.test/registry.example/acme/digits', 'registry.example/acme'],
  ['registry.example', 'registry.example'],
  ['registry.example:5000', 'registry.example:5000'],
  ['acme/digits', 'registry.example/acme'],
  ['registry.example/acme/digits:v33', 'registry.example/acme/digits:v3'],
  ['registry.example/acme/digits-large', 'registry.example/acme/digits'],
  ['acme.evil.test/digits', 'acme'],
  ['registry.example/acme', 'registry.example/acme/digits'],
])('%s does not begin with %s', (image, beginning) => expect(isImageAllowed(image, [beginning])).toBe(false));

test('without any beginning every image is allowed, with several it needs one of them', () => {
  expect(isImageAllowed('anywhere.test/x', [])).toBe(true);
  expect(isImageAllowed('b.test/x', ['a.test', 'b.test'])).toBe(true);
  expect(isImageAllowed('c.test/x', ['a.test', 'b.test'])).toBe(false);
});
