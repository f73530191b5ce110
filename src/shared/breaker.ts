import { type Clock, monotonicMs } from './clock.ts';

/**
 * A consecutive-failure circuit breaker for an optional dependency: after `threshold` failures in a row it stays open
 * for `openMs`, then lets one trial call through. Single-threaded and synchronous: the caller asks `allows()` before,
 * and reports `success()` or `failure()` after.
 */
export class Breaker {
  readonly threshold: number;
  readonly openMs: number;
  private readonly now: Clock;
  private failures = 0;
  private openUntil = 0;

  constructor(threshold = 3, openMs = 1000, now: Clock = monotonicMs) {
    this.threshold = threshold;
    this.openMs = openMs;
    this.now = now;
  }

  allows(): boolean {
    if (this.failures < this.threshold) return true;
    const at = this.now();
    if (at < this.openUntil) return false;
    this.openUntil = at + this.openMs;
    return true;
  }

  success(): void {
    this.failures = 0;
  }

  failure(): void {
    this.failures++;
    if (this.failures >= this.threshold) this.openUntil = this.now() + this.openMs;
  }
}
