import { openApiPaths } from '../../registry/rest/openapi.ts';
import { openApiDocument } from '../openapi.ts';
import type { AdminRoute } from '../route.ts';

/** The metrics text, and the description of `routes` together with these two. */
export function documentRoutes(routes: readonly AdminRoute[]): readonly AdminRoute[] {
  const own: AdminRoute[] = [
    {
      method: 'GET',
      path: '/metrics',
      role: 'operator',
      operationId: 'getMetrics',
      summary: 'Prometheus text, the same as on the metrics port',
      response: { type: 'string' },
      contentType: 'text/plain; version=0.0.4; charset=utf-8',
      handle: async ({ services }) => ({ body: await services.hub.prometheus() }),
    },
    {
      method: 'GET',
      path: '/openapi.json',
      role: 'operator',
      operationId: 'getOpenApi',
      summary: 'This description',
      response: { type: 'object' },
      handle: async ({ services }) => {
        const document = openApiDocument([...routes, ...own], services.version);
        // While the registry cannot be opened, its routes answer 503 and are not described.
        const registry = await services.registry.routes().catch(() => []);
        return { body: { ...document, paths: { ...document.paths, ...openApiPaths(registry) } } };
      },
    },
  ];
  return own;
}
