import { loadedFirst } from '../../../pipeline/dormant.ts';
import {
  modelConfigBody,
  modelListBody,
  modelMetadata,
  serverMetadata,
  statisticsBody,
} from '../../../protocol/v2/metadata.ts';
import { SwitchyardError } from '../../../shared/errors.ts';
import { parseFeedback } from '../../../shared/feedback-events.ts';
import type { HttpExchange, HttpHandler, RequestHead } from '../socket.ts';
import { errorBody, JSON_HEADERS } from '../status.ts';
import { respondError, respondJson } from './answers.ts';
import { type Audience, DocumentCall } from './document-call.ts';
import { FeastCall } from './feast.ts';
import { GenerateCall, GenerateStreamCall } from './generate.ts';
import { findModel, findVersion, isReady } from './lookup.ts';
import { readJson, readObject, repositoryIndex, repositoryLoad, repositoryUnload } from './repository.ts';
import { type Route, RouteCache, shown } from './routes.ts';
import type { HttpGateway } from './settings.ts';
import { TfServingCall, tfServingMetadata, tfServingStatus } from './tfserving.ts';
import { V2InferCall } from './v2-infer.ts';

/** Every route of the inference port. */
export class GatewayHandler implements HttpHandler {
  private readonly gateway: HttpGateway;
  private readonly routes = new RouteCache();

  constructor(gateway: HttpGateway) {
    this.gateway = gateway;
  }

  onRequest(head: RequestHead, exchange: HttpExchange): void {
    try {
      const route = this.routes.get(head.path);
      if (allows(route.methods, head.method)) this.serve(route, head, exchange);
      else refuseMethod(route, head.method, exchange);
    } catch (error) {
      respondError(exchange, error, this.gateway.settings);
    }
  }

  private serve(route: Route, head: RequestHead, exchange: HttpExchange): void {
    const gateway = this.gateway;
    const server = gateway.services.server;
    switch (route.kind) {
      case 'infer':
        new V2InferCall(gateway, exchange, route, head).start(head);
        return;
      case 'generate':
        new GenerateCall(gateway, exchange, route, head).start(head);
        return;
      case 'generate-stream':
        new GenerateStreamCall(gateway, exchange, route, head).start(head);
        return;
      case 'tfs-predict':
      case 'tfs-classify':
      case 'tfs-regress':
        new TfServingCall(gateway, exchange, route, head).start(head);
        return;
      case 'v1-live':
        if (server.live()) respondJson(exchange, { status: 'alive' });
        else exchange.respond(503, JSON_HEADERS, errorBody('not alive'));
        return;
      case 'live':
        respondHealth(exchange, 'live', server.live());
        return;
      case 'ready':
        respondHealth(exchange, 'ready', server.ready());
        return;
      case 'model-ready':
        respondModelReady(gateway, route, exchange);
        return;
      case 'feast-online':
      case 'feast-push':
      case 'feast-write':
      case 'feast-materialize':
      case 'feast-materialize-incremental':
        new FeastCall(gateway, exchange, route.kind).start(head);
        return;
      case 'feast-health':
        exchange.respond(server.live() ? 200 : 503, JSON_HEADERS, server.live() ? '' : errorBody('not alive'));
        return;
      default: {
        const call = new DocumentCall(
          gateway,
          exchange,
          audience(route, head.method),
          this.document(route, head.method),
        );
        call.start(head);
      }
    }
  }

  /** What answers a route that is no inference and no health check. */
  private document(route: Route, method: string): (body: Uint8Array, tenant: string) => unknown {
    const gateway = this.gateway;
    const { services } = gateway;
    switch (route.kind) {
      case 'server-metadata':
        return () => serverMetadata(services.server);
      case 'model-list':
        return () => modelListBody(servedModels(gateway));
      case 'model-metadata':
        return () =>
          loadedFirst(services, route.model, route.version, () => {
            const table = services.table();
            const { config } = findVersion(table, route.model, route.version);
            return modelMetadata(findModel(table, route.model), config);
          });
      case 'model-config':
        return () =>
          loadedFirst(services, route.model, route.version, () =>
            modelConfigBody(findVersion(services.table(), route.model, route.version).config),
          );
      case 'statistics':
        return () => statisticsBody(services.statistics(route.model, route.version));
      case 'repository-index':
        return (body) => repositoryIndex(gateway, body);
      case 'repository-load':
        return (body) => repositoryLoad(gateway, route.model, body);
      case 'repository-unload':
        return (body) => repositoryUnload(gateway, route.model, body);
      case 'logging':
        return (body) => services.control.logSettings(method === 'POST' ? readObject(body) : undefined);
      case 'trace':
        return (body) => services.control.traceSettings(route.model, method === 'POST' ? readObject(body) : undefined);
      case 'feedback':
        // Nobody is told apart while admission is off.
        return (body, tenant) =>
          services.control.feedback(readJson(body, parseFeedback), services.admission.enabled ? tenant : '');
      case 'tfs-status':
        // A state is told without loading; only labels are part of the configuration.
        if (route.label === '') return () => tfServingStatus(gateway, route);
        return () => loadedFirst(services, route.model, '', () => tfServingStatus(gateway, route));
      case 'tfs-metadata':
        return () => loadedFirst(services, route.model, route.version, () => tfServingMetadata(gateway, route));
      default:
        return () => sharedMemory(route);
    }
  }
}

function allows(methods: Route['methods'], method: string): boolean {
  if (method === 'POST') return methods !== 'GET';
  return (method === 'GET' || method === 'HEAD') && methods !== 'POST';
}

function refuseMethod(route: Route, method: string, exchange: HttpExchange): void {
  const allow = route.methods === 'POST' ? 'POST' : route.methods.replace('GET', 'GET, HEAD');
  exchange.respond(
    405,
    `${JSON_HEADERS}\r\nAllow: ${allow}`,
    errorBody(`method ${shown(method)} is not allowed here; use ${route.methods}`),
  );
}

/** Changing what the server does needs the control role; looking does not. */
function audience(route: Route, method: string): Audience {
  switch (route.kind) {
    case 'repository-load':
    case 'repository-unload':
      return 'control';
    case 'logging':
    case 'trace':
      return method === 'POST' ? 'control' : 'any';
    default:
      return 'any';
  }
}

function respondHealth(exchange: HttpExchange, name: 'live' | 'ready', good: boolean): void {
  exchange.respond(good ? 200 : 503, JSON_HEADERS, `{"${name}":${good}}`);
}

function respondModelReady(gateway: HttpGateway, route: Route, exchange: HttpExchange): void {
  const table = gateway.services.table();
  const ready = isReady(table, route.model, route.version);
  const status = ready ? 200 : table.models.has(route.model) ? 503 : 404;
  exchange.respond(status, JSON_HEADERS, `{"name":"${route.model}","ready":${ready}}`);
}

function servedModels(gateway: HttpGateway): string[] {
  const names: string[] = [];
  for (const model of gateway.services.table().models.values()) {
    if (model.versions.length > 0 || model.onDemand) names.push(model.name);
  }
  return names;
}

/** No region can exist, so there is nothing to list or to forget; clients unregister all before they begin. */
function sharedMemory(route: Route): unknown {
  if (route.kind === 'shared-memory-register') {
    throw new SwitchyardError(
      'unsupported',
      `shared memory region ${shown(route.model)} cannot be registered: this server takes tensors in the request body only`,
    );
  }
  if (route.kind === 'shared-memory-unregister') return {};
  if (route.model === '') return [];
  throw new SwitchyardError('not_found', `no shared memory region ${shown(route.model)} is registered`);
}
