/** A request that gets no result: the HTTP status, and one sentence for `{"error": …}`. */
export class Refusal extends Error {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(status: number, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.status = status;
    this.headers = headers;
  }
}

export function bad(message: string): Refusal {
  return new Refusal(400, message);
}
