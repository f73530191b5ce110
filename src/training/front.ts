import { SwitchyardError } from '../shared/errors.ts';
import type { Training } from './training.ts';

/** Opening that failed is not tried again sooner. */
const RETRY_MS = 1_000;

/** Training as the rest of the program holds it: there at once, opened behind readiness, together with the registry. */
export class TrainingFront {
  private readonly openTraining: () => Promise<Training>;
  private readonly onError: (error: unknown) => void;
  private opening: Promise<Training> | undefined;
  private open: Training | undefined;
  private failedAt = Number.NEGATIVE_INFINITY;

  constructor(openTraining: () => Promise<Training>, onError: (error: unknown) => void) {
    this.openTraining = openTraining;
    this.onError = onError;
  }

  /** Opens it, or gives the open one. Rejects with unavailable. */
  get(): Promise<Training> {
    if (this.opening !== undefined) return this.opening;
    if (performance.now() - this.failedAt < RETRY_MS) return Promise.reject(unavailable());
    this.opening = this.openTraining().then(
      (training) => {
        this.open = training;
        return training;
      },
      (error: unknown) => {
        this.opening = undefined;
        this.failedAt = performance.now();
        this.onError(error);
        throw unavailable();
      },
    );
    return this.opening;
  }

  /** Keeps trying until it is open: jobs of an earlier process wait to be taken up. */
  async start(): Promise<void> {
    await this.get().catch(() => {
      setTimeout(() => void this.start(), 2 * RETRY_MS).unref();
    });
  }

  /** Prometheus text; '' until it is open. */
  metrics(): string {
    return this.open?.metrics() ?? '';
  }

  async close(): Promise<void> {
    const training = await this.opening?.catch(() => undefined);
    await training?.close();
  }
}

function unavailable(): SwitchyardError {
  return new SwitchyardError('unavailable', 'training cannot be opened; the log has the reason', {
    retryAfterMs: RETRY_MS,
  });
}
