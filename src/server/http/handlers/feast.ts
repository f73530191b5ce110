import type { FeatureVerb } from '../../services.ts';
import type { HttpExchange } from '../socket.ts';
import { JSON_HEADERS } from '../status.ts';
import { publicError } from './answers.ts';
import { DocumentCall } from './document-call.ts';
import type { HttpGateway } from './settings.ts';

type FeastRoute = 'feast-online' | 'feast-push' | 'feast-write' | 'feast-materialize' | 'feast-materialize-incremental';

const VERBS: Readonly<Record<Exclude<FeastRoute, 'feast-online'>, FeatureVerb>> = {
  'feast-push': 'push',
  'feast-write': 'write',
  'feast-materialize': 'materialize',
  'feast-materialize-incremental': 'materialize-incremental',
};

/**
 * The calls of Feast's feature server, answered as it answers them: what writes says nothing but 200, and an error is a
 * JSON text that Feast's clients turn into their exception of the same name.
 */
export class FeastCall extends DocumentCall {
  private readonly route: FeastRoute;

  constructor(gateway: HttpGateway, exchange: HttpExchange, route: FeastRoute) {
    const { features } = gateway.services;
    super(gateway, exchange, route === 'feast-online' ? 'any' : 'control', (body, tenant) =>
      route === 'feast-online' ? features.online(tenant, body) : features.call(VERBS[route], tenant, body),
    );
    this.route = route;
  }

  protected override respond(document: unknown): void {
    if (this.route === 'feast-online') this.exchange.respond(200, JSON_HEADERS, document as string);
    else this.exchange.respond(200, JSON_HEADERS, this.route === 'feast-push' ? '' : 'null');
  }

  protected override refuse(thrown: unknown): void {
    const error = publicError(thrown);
    const name = exceptionOf(error.code, error.message);
    const detail = JSON.stringify({ module: 'feast.errors', class: name, message: error.message });
    let headers = JSON_HEADERS;
    if (error.httpStatus === 503 || error.httpStatus === 429) headers += '\r\nRetry-After: 1';
    if (error.httpStatus === 401) headers += '\r\nWWW-Authenticate: Bearer';
    const status = name === 'PushSourceNotFoundException' ? 422 : error.httpStatus;
    this.exchange.respond(status, headers, JSON.stringify(detail));
  }
}

/** Feast's exception for what went wrong. */
function exceptionOf(code: string, message: string): string {
  if (code === 'permission_denied') return 'FeastPermissionError';
  if (code !== 'not_found') return 'FeastError';
  if (message.startsWith('Feature view')) return 'FeatureViewNotFoundException';
  if (message.startsWith('Feature service')) return 'FeatureServiceNotFoundException';
  return 'PushSourceNotFoundException';
}
