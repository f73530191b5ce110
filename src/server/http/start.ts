import type { GatewayServices } from '../services.ts';
import { GatewayHandler } from './handlers/dispatch.ts';
import { DEFAULT_SETTINGS, type HttpSettings } from './handlers/settings.ts';
import { type HttpLibrary, listen, type Warner } from './open.ts';
import type { HttpServer, ListenOptions } from './socket.ts';

export interface HttpServerOptions extends Omit<ListenOptions, 'maxBodyBytes' | 'closing'> {
  settings?: Partial<HttpSettings>;
  library?: HttpLibrary;
  log: Warner;
}

/**
 * Opens the inference port of one gateway thread. While `services.server.ready()` is false every answer carries
 * `Connection: close`, so that clients move on before the port closes. Rejects when the address cannot be bound.
 */
export function startHttpServer(services: GatewayServices, options: HttpServerOptions): Promise<HttpServer> {
  const { settings, library, log, ...listening } = options;
  const handler = new GatewayHandler({ services, settings: { ...DEFAULT_SETTINGS, ...settings } });
  return listen(
    { ...listening, maxBodyBytes: services.server.maxBodyBytes, closing: () => !services.server.ready() },
    handler,
    library ?? 'auto',
    log,
  );
}
