/** `code` 0 stands for "no answer": network failure, time-out, unreadable body. */
export interface KubeErrorInit {
  code: number;
  /** Status reason ('NotFound', 'Conflict' …), or for code 0: 'NetworkError', 'Timeout', 'IdleTimeout', 'MalformedResponse', 'NotLeader'. */
  reason: string;
  message: string;
  /** What the server asked for by Retry-After or `details.retryAfterSeconds`. */
  retryAfterMs?: number;
  /** Reasons of `details.causes`, e.g. 'NamespaceTerminating', 'ResourceVersionTooLarge'. */
  causes?: string[];
  cause?: unknown;
}

/** The one error that leaves operator/kube. `message` is safe to log: it never holds headers, tokens or bodies. */
export class KubeError extends Error {
  readonly code: number;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
  readonly causes: readonly string[];
  /** The server's own sentence, without verb and path. */
  readonly detail: string;

  constructor(init: KubeErrorInit, request?: { method: string; path: string }) {
    const where = request === undefined ? '' : `${request.method} ${request.path}: `;
    super(`${where}${init.code === 0 ? '' : `${init.code} `}${init.reason}: ${init.message}`, { cause: init.cause });
    this.name = 'KubeError';
    this.code = init.code;
    this.reason = init.reason;
    this.detail = init.message;
    this.retryAfterMs = init.retryAfterMs;
    this.causes = init.causes ?? [];
  }
}

/** `Status` as far as it is read. */
interface StatusBody {
  kind?: unknown;
  message?: unknown;
  reason?: unknown;
  code?: unknown;
  details?: { retryAfterSeconds?: unknown; causes?: { reason?: unknown }[] };
}

const REASONS: Record<number, string> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  409: 'Conflict',
  410: 'Expired',
  413: 'RequestEntityTooLarge',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

const MAX_MESSAGE = 2_000;

/** From an error answer, or from the object of a watch's ERROR event. A proxy's HTML or an empty body gives the code's usual reason. */
export function errorFromStatus(
  code: number,
  body: unknown,
  request?: { method: string; path: string },
  retryAfterMs?: number,
): KubeError {
  const status: StatusBody = typeof body === 'object' && body !== null ? body : {};
  const actual = code === 0 && typeof status.code === 'number' ? status.code : code;
  const text = typeof status.message === 'string' ? status.message : typeof body === 'string' ? body.trim() : '';
  const seconds = status.details?.retryAfterSeconds;
  const wait = retryAfterMs ?? (typeof seconds === 'number' && seconds > 0 ? seconds * 1000 : undefined);
  const causes = (status.details?.causes ?? [])
    .map((cause) => cause.reason)
    .filter((reason) => typeof reason === 'string');
  return new KubeError(
    {
      code: actual,
      reason:
        typeof status.reason === 'string' && status.reason !== '' ? status.reason : (REASONS[actual] ?? 'Unknown'),
      message: text === '' ? 'the server gave no message' : text.slice(0, MAX_MESSAGE),
      causes,
      ...(wait === undefined ? {} : { retryAfterMs: wait }),
    },
    request,
  );
}

/** Seconds or an HTTP date, as milliseconds from `now`. */
export function parseRetryAfter(value: string | string[] | undefined, now: number): number | undefined {
  const text = Array.isArray(value) ? value[0] : value;
  if (text === undefined || text.trim() === '') return undefined;
  const seconds = Number(text);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - now);
}

const hasCode = (error: unknown, code: number): error is KubeError => error instanceof KubeError && error.code === code;

export const isNotFound = (error: unknown): error is KubeError => hasCode(error, 404);
export const isAlreadyExists = (error: unknown): error is KubeError =>
  hasCode(error, 409) && error.reason === 'AlreadyExists';
/** Someone else wrote first; does not cover AlreadyExists. */
export const isConflict = (error: unknown): error is KubeError =>
  hasCode(error, 409) && error.reason !== 'AlreadyExists';
/** The resourceVersion or continue token is too old. */
export const isGone = (error: unknown): error is KubeError => hasCode(error, 410);
export const isForbidden = (error: unknown): error is KubeError => hasCode(error, 403);
export const isInvalid = (error: unknown): error is KubeError => hasCode(error, 422);
export const isUnauthorized = (error: unknown): error is KubeError => hasCode(error, 401);
export const isThrottled = (error: unknown): error is KubeError => hasCode(error, 429);
export const isQuotaExceeded = (error: unknown): error is KubeError =>
  isForbidden(error) && error.detail.includes('exceeded quota');
export const isNamespaceTerminating = (error: unknown): error is KubeError =>
  isForbidden(error) && error.causes.includes('NamespaceTerminating');

/** The same call may well succeed later: no answer, throttled, conflict, or a fault of the server. */
export function isTransient(error: unknown): boolean {
  if (!(error instanceof KubeError)) return false;
  return error.code === 0 || error.code === 429 || error.code >= 500 || isConflict(error);
}
