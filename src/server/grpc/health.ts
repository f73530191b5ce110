import { HealthImplementation } from 'grpc-health-check';
import { isModelReady } from '../../pipeline/ready.ts';
import { INFERENCE_SERVICE } from '../../protocol/grpc/schema.ts';
import type { GatewayServices } from '../services.ts';
import type { MethodDefinition, UnaryCall, UnaryCallback } from './service-adapter.ts';

const REFRESH_MS = 250;

type Handler = (call: UnaryCall, callback: UnaryCallback) => void;
/** What grpc-health-check asks of a server. */
interface ServiceTaker {
  addService(definition: Record<string, MethodDefinition>, handlers: Record<string, Handler>): void;
}

/**
 * grpc.health.v1.Health over the serving table: '' and the inference service follow the server's readiness, each model
 * name whether it has a ready version. Checks see the table of that moment; watchers hear of changes within 250 ms.
 */
export class HealthFollower {
  private readonly services: GatewayServices;
  private readonly health = new HealthImplementation();
  private readonly published = new Map<string, 'SERVING' | 'NOT_SERVING'>();
  private readonly timer: NodeJS.Timeout;
  private stopped = false;

  constructor(services: GatewayServices) {
    this.services = services;
    this.refresh();
    this.timer = setInterval(() => this.refresh(), REFRESH_MS);
    this.timer.unref();
  }

  addToServer(server: ServiceTaker): void {
    const fresh = (handler: Handler): Handler => {
      return (call, callback) => {
        this.refresh();
        const name = (call.request as { service?: string } | undefined)?.service;
        if (name !== undefined && name !== '' && !this.published.has(name)) {
          callback({ code: 5, details: `service '${name}' is not known here; ask for '' or a model's name` });
        } else handler(call, callback);
      };
    };
    const taker: ServiceTaker = {
      addService: (definition, handlers) => {
        const wrapped: Record<string, Handler> = { ...handlers, check: fresh(handlers.check) };
        wrapped.watch = (call, callback) => {
          this.refresh();
          handlers.watch(call, callback);
        };
        if (handlers.list !== undefined) wrapped.list = fresh(handlers.list);
        server.addService(definition, wrapped);
      },
    };
    this.health.addToServer(taker as never);
  }

  /** Everything is NOT_SERVING from now on. */
  stop(): void {
    this.stopped = true;
    clearInterval(this.timer);
    this.refresh();
  }

  private refresh(): void {
    const { models } = this.services.table();
    const up = !this.stopped && this.services.server.ready();
    this.publish('', up);
    this.publish(INFERENCE_SERVICE, up);
    for (const [name, model] of models) this.publish(name, up && isModelReady(model));
    if (this.published.size === models.size + 2) return;
    for (const name of this.published.keys()) {
      if (name === '' || name === INFERENCE_SERVICE || models.has(name)) continue;
      this.published.delete(name);
      this.health.setStatus(name, 'SERVICE_UNKNOWN' as 'NOT_SERVING');
    }
  }

  private publish(name: string, up: boolean): void {
    const status = up ? 'SERVING' : 'NOT_SERVING';
    if (this.published.get(name) === status) return;
    this.published.set(name, status);
    this.health.setStatus(name, status);
  }
}
