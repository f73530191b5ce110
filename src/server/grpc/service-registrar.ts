import type { MethodRegistry } from './call.ts';
import { adaptMethod, type MethodDefinition } from './service-adapter.ts';

export type ServiceDefinition = Record<string, MethodDefinition>;
type Implementation = Record<string, (...args: never[]) => void>;

/** The face of a grpc-js server that ready-made services register themselves at. */
export class ServiceRegistrar {
  private readonly server: MethodRegistry;

  constructor(server: MethodRegistry) {
    this.server = server;
  }

  /** Registers every method of the definition that the implementation has, by its name or its lower-case name. */
  addService(definition: ServiceDefinition, implementation: Implementation): void {
    for (const [name, method] of Object.entries(definition)) {
      const handler = implementation[name] ?? implementation[method.originalName ?? ''];
      if (handler !== undefined) this.server.register(method.path, adaptMethod(method, handler.bind(implementation)));
    }
  }
}
