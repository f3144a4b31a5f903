/** Open or closed; `passed` waits while it is closed. */
export class Gate {
  #closed: PromiseWithResolvers<void> | undefined;

  set(open: boolean): void {
    if (open) {
      this.#closed?.resolve();
      this.#closed = undefined;
    } else {
      this.#closed ??= Promise.withResolvers<void>();
    }
  }

  /** Rejects with the signal's reason when it aborts first. */
  async passed(signal: AbortSignal): Promise<void> {
    while (this.#closed) {
      signal.throwIfAborted();
      const aborted = Promise.withResolvers<never>();
      const onAbort = (): void => aborted.reject(signal.reason as Error);
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        await Promise.race([this.#closed.promise, aborted.promise]);
      } finally {
        signal.removeEventListener('abort', onAbort);
      }
    }
  }
}
