import { RegistryError } from './errors.ts';
import type { Registry } from './registry.ts';
import type { RestRequest } from './rest/dispatch.ts';
import { sendError } from './rest/respond.ts';
import type { RestRoute } from './rest/route.ts';

const PREFIXES = ['/api/2.0/mlflow/', '/api/2.0/mlflow-artifacts/', '/api/3.0/mlflow/', '/api/v1/registry/'];
const DATASETS = /^\/api\/v1\/(datasets|dataset-imports|data-schemas)(\/|$)/;
/** A database that could not be opened is not tried again sooner. */
const RETRY_MS = 1_000;

/**
 * The registry as the rest of the program holds it: there at once, opened in the background, so that neither a start
 * nor inference waits for a database. Requests that come early wait; while it cannot be opened they get 503.
 */
export class RegistryFront {
  private readonly openRegistry: () => Promise<Registry>;
  private readonly onError: (error: unknown) => void;
  private opening: Promise<Registry> | undefined;
  private failedAt = Number.NEGATIVE_INFINITY;

  constructor(openRegistry: () => Promise<Registry>, onError: (error: unknown) => void) {
    this.openRegistry = openRegistry;
    this.onError = onError;
  }

  /** Opens it, or gives the open one. Rejects with TEMPORARILY_UNAVAILABLE. */
  get(): Promise<Registry> {
    if (this.opening !== undefined) return this.opening;
    if (performance.now() - this.failedAt < RETRY_MS) return Promise.reject(unavailable());
    this.opening = this.openRegistry().catch((error: unknown) => {
      this.opening = undefined;
      this.failedAt = performance.now();
      this.onError(error);
      throw unavailable();
    });
    return this.opening;
  }

  /** Whether a path on the admin port is the registry's. */
  owns(path: string): boolean {
    return PREFIXES.some((prefix) => path.startsWith(prefix)) || DATASETS.test(path);
  }

  /** Answers a request that may come in. Never rejects. */
  async serve(request: RestRequest): Promise<void> {
    try {
      const { rest } = await this.get();
      await rest.serve(request);
    } catch (error) {
      sendError(request, error);
    }
  }

  /** Answers a request that may not come in. */
  refuse(request: RestRequest, error: unknown): void {
    sendError(request, error);
  }

  /** Its routes, for the description of the admin API. */
  async routes(): Promise<readonly RestRoute[]> {
    return (await this.get()).rest.routes;
  }

  async close(): Promise<void> {
    const open = await this.opening?.catch(() => undefined);
    await open?.close();
  }
}

function unavailable(): RegistryError {
  return new RegistryError('TEMPORARILY_UNAVAILABLE', 'the registry cannot be opened; the log has the reason', {
    retryAfterMs: RETRY_MS,
  });
}
