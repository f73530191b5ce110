import type { IncomingMessage, ServerResponse } from 'node:http';
import { SwitchyardError } from '../../shared/errors.ts';
import { invalidParameter, RegistryError } from '../errors.ts';
import { checkTarget, parseBody, readBody, readQuery, validate } from './request.ts';
import { JSON_HEADERS, sendError } from './respond.ts';
import type { JsonRoute, RestRoute, StreamRoute } from './route.ts';
import { RestRouter } from './router.ts';
import type { Claims, ScopeCheck } from './scope.ts';

const MAX_BODY_BYTES = 16 * 1024 * 1024;

/** A request as the admin port hands it over; checked for access already. */
export interface RestRequest {
  method: string;
  /** As sent, percent-encoded, without the query. */
  path: string;
  query: string;
  /** -1: none is declared. */
  contentLength: number;
  actor: string;
  /** Of a job's or a gateway's token: all it may touch. Absent: everything. */
  claims?: Claims;
  request: IncomingMessage;
  response: ServerResponse;
}

/** Answers requests by a table of routes. Never rejects; `onError` hears of what no client can mend. */
export class RestDispatch {
  readonly routes: readonly RestRoute[];
  private readonly router: RestRouter;
  private readonly onError: (error: unknown) => void;
  private readonly scope: ScopeCheck;

  /** @param scope says whether a job or a gateway may make a call */
  constructor(routes: readonly RestRoute[], scope: ScopeCheck, onError: (error: unknown) => void) {
    this.routes = routes;
    this.router = new RestRouter(routes);
    this.scope = scope;
    this.onError = onError;
  }

  async serve(call: RestRequest): Promise<void> {
    try {
      checkTarget(call);
      const match = this.router.match(call.method, call.path);
      if (match.kind !== 'route') throw noRoute(call, match.kind === 'method' ? match.allowed : []);
      if ('stream' in match.route) await stream(match.route, match.params, call, this.scope);
      else await json(match.route, match.params, call, this.scope);
    } catch (error) {
      // Whoever asked has gone while it was sent: nobody's mistake.
      if ((error as NodeJS.ErrnoException).code === 'ERR_STREAM_PREMATURE_CLOSE' && call.response.destroyed) return;
      if (!(error instanceof SwitchyardError) || isOurs(error)) this.onError(error);
      sendError(call, error);
    }
  }
}

/** Whether an error that has an answer is still something for whoever runs the server. */
function isOurs({ code }: SwitchyardError): boolean {
  return code === 'internal' || code === 'unavailable' || code === 'insufficient_storage';
}

function noRoute(call: RestRequest, allowed: string[]): RegistryError {
  const path = JSON.stringify(call.path.slice(0, 200));
  if (allowed.length === 0)
    return new RegistryError('ENDPOINT_NOT_FOUND', `no such endpoint ${path}; GET /openapi.json lists them`);
  call.response.setHeader('Allow', allowed.join(', '));
  const message = `${call.method} is not allowed on ${path}; use ${allowed.join(' or ')}`;
  return new RegistryError('ENDPOINT_NOT_FOUND', message, { status: 405 });
}

async function json(
  route: JsonRoute,
  params: Record<string, string>,
  call: RestRequest,
  scope: ScopeCheck,
): Promise<void> {
  const values = await requestValues(route, call);
  const request = validate(route.request, call.path === route.path ? values : { ...values, ...params });
  if (call.claims !== undefined) await scope(call.claims, route, request);
  const result = await route.handle(request, call);
  // As text, head and body leave in one piece.
  const body = typeof result === 'string' ? result : JSON.stringify(result);
  call.response.writeHead(200, [...JSON_HEADERS, 'Content-Length', String(Buffer.byteLength(body))]);
  call.response.end(body);
}

async function requestValues(route: JsonRoute, call: RestRequest): Promise<Record<string, unknown>> {
  const body = await readBody(call.request, call.contentLength, route.maxBodyBytes ?? MAX_BODY_BYTES);
  // A GET with a body is one too: some clients send JSON with every verb.
  if (body.byteLength > 0 || (route.method !== 'GET' && route.method !== 'DELETE')) return parseBody(body);
  return readQuery(new URLSearchParams(call.query), route.request);
}

async function stream(
  route: StreamRoute,
  params: Record<string, string>,
  call: RestRequest,
  scope: ScopeCheck,
): Promise<void> {
  const { request, response, contentLength, actor } = call;
  const query = new URLSearchParams(call.query);
  if (call.claims !== undefined) await scope(call.claims, route, params);
  await route.stream({ params, query, contentLength, actor, request, response });
  if (!response.headersSent) throw invalidParameter('the request was not answered');
}
