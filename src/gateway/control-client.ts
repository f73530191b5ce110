import type { ControlClient, FeatureVerb } from '../server/services.ts';
import { SwitchyardError } from '../shared/errors.ts';
import type { ControlMethod, GatewayCommand, GatewayEvent } from './messages.ts';

/** Calls to the control thread by message, with their answers. */
export class ThreadControlClient implements ControlClient {
  private readonly post: (event: GatewayEvent) => void;
  private readonly waiting = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  /** One load on demand per model, however many requests wait for it. */
  private readonly demands = new Map<string, Promise<void>>();
  private calls = 0;

  constructor(post: (event: GatewayEvent) => void) {
    this.post = post;
  }

  repositoryIndex(readyOnly: boolean): ReturnType<ControlClient['repositoryIndex']> {
    return this.call('repositoryIndex', [readyOnly]);
  }

  loadModel(name: string, config: string, files: Map<string, Uint8Array>): Promise<void> {
    return this.call('loadModel', [name, config, files]);
  }

  unloadModel(name: string, unloadDependents: boolean): Promise<void> {
    return this.call('unloadModel', [name, unloadDependents]);
  }

  traceSettings(model: string, update: Record<string, unknown> | undefined): Promise<Record<string, unknown>> {
    return this.call('traceSettings', [model, update]);
  }

  logSettings(update: Record<string, unknown> | undefined): Promise<Record<string, unknown>> {
    return this.call('logSettings', [update]);
  }

  feedback(body: unknown, tenant: string): Promise<object> {
    return this.call('feedback', [body, tenant]);
  }

  features(verb: FeatureVerb, tenant: string, body: Uint8Array): Promise<object> {
    return this.call('features', [verb, tenant, body]);
  }

  demand(model: string): Promise<void> {
    let pending = this.demands.get(model);
    if (pending === undefined) {
      pending = this.call<void>('demand', [model]).finally(() => this.demands.delete(model));
      this.demands.set(model, pending);
    }
    return pending;
  }

  settle(command: Extract<GatewayCommand, { kind: 'reply' | 'refusal' }>): void {
    const waiter = this.waiting.get(command.call);
    if (waiter === undefined) return;
    this.waiting.delete(command.call);
    if (command.kind === 'reply') waiter.resolve(command.value);
    else waiter.reject(new SwitchyardError(command.code, command.message));
  }

  private call<T>(method: ControlMethod, args: unknown[]): Promise<T> {
    const call = ++this.calls;
    return new Promise<T>((resolve, reject) => {
      this.waiting.set(call, { resolve: resolve as (value: unknown) => void, reject });
      this.post({ kind: 'call', call, method, args });
    });
  }
}
