const DEFAULT_REGISTRY = 'docker.io';

/**
 * Whether an image may be used where only these beginnings are allowed; without any, every image may. A beginning ends
 * where a part of the reference ends, and one that names a registry only matches that registry, port included.
 */
export function isImageAllowed(image: string, beginnings: readonly string[]): boolean {
  const reference = fullReference(image);
  return beginnings.length === 0 || beginnings.some((beginning) => begins(reference, beginning));
}

function begins(reference: string, beginning: string): boolean {
  const { host, rest } = parts(beginning);
  const prefix = host === undefined ? `${DEFAULT_REGISTRY}/${rest}` : rest === undefined ? `${host}/` : `${host}/${rest}`;
  if (!reference.startsWith(prefix)) return false;
  const next = reference.charAt(prefix.length);
  return next === '' || /[/:@]$/.test(prefix) || /[/:@]/.test(next);
}

/** With registry, and with `library/` where Docker Hub implies it, as container runtimes read it (distribution/reference). */
function fullReference(image: string): string {
  const { host, rest = '' } = parts(image, 'path');
  if (host !== undefined) return `${host}/${host === DEFAULT_REGISTRY && !rest.includes('/') ? `library/${rest}` : rest}`;
  return `${DEFAULT_REGISTRY}/${rest.includes('/') ? rest : `library/${rest}`}`;
}

/** `alone`: what text without a slash is, as `registry.example:5000` and `digits.onnx:v3` cannot be told apart. */
function parts(text: string, alone: 'host' | 'path' = 'host'): { host?: string; rest?: string } {
  const slash = text.indexOf('/');
  const first = slash === -1 ? text : text.slice(0, slash);
  const isHost = (slash !== -1 || alone === 'host') && (/[.:]/.test(first) || first === 'localhost' || first !== first.toLowerCase());
  if (!isHost) return { rest: text };
  const host = first.toLowerCase() === 'index.docker.io' ? DEFAULT_REGISTRY : first.toLowerCase();
  return slash === -1 || slash === text.length - 1 ? { host } : { host, rest: text.slice(slash + 1) };
}
