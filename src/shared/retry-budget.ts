/**
 * Bounds retries to a share of the calls in flight, so that a server in trouble is not asked twice as much.
 * A few are always allowed: with little traffic a share would round down to none.
 */
export class RetryBudget {
  readonly #ratio: number;
  readonly #minimum: number;
  #active = 0;
  #retrying = 0;

  constructor(ratio = 0.2, minimum = 3) {
    this.#ratio = ratio;
    this.#minimum = minimum;
  }

  started(): void {
    this.#active++;
  }

  ended(): void {
    this.#active--;
  }

  /** True grants one retry, which the caller must give back with `retried`. `active`: from a caller that counts by itself. */
  tryRetry(active: number = this.#active): boolean {
    if (this.#retrying >= Math.max(this.#minimum, active * this.#ratio)) return false;
    this.#retrying++;
    return true;
  }

  retried(): void {
    this.#retrying--;
  }
}
