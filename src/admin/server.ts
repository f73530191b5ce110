import type { Config } from '../config/schema.ts';
import { listenNode } from '../server/http/node.ts';
import { type HttpExchange, type HttpServer, headerBlock, type RequestHead } from '../server/http/socket.ts';
import { ERROR_TABLE, invalidArgument, SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { AccessPolicy, actorOf, checkAdminBinding } from './access.ts';
import { MAX_BODY_BYTES, parseJsonBody } from './body.ts';
import type { AdminRoute } from './route.ts';
import { type Match, matchRoute } from './router.ts';
import { ADMIN_ROUTES } from './routes.ts';
import type { AdminServices } from './services.ts';

const COMMON_HEADERS = 'Cache-Control: no-store\r\nX-Content-Type-Options: nosniff';
/** A refused body up to here is read away, so that the connection can go on. */
const MAX_DISCARDED = 64 * 1024;
/** Of requests that have shown no token. */
const MAX_SIGNED_BYTES = 1024 * 1024;

/**
 * The admin port, on the control thread. Deny by default: everything but the health probes needs the admin token when
 * one is set. Rejects with ConfigError when the address would need a token and has none, or with the socket's error.
 */
export function startAdminServer(services: AdminServices, server: Config['server']): Promise<HttpServer> {
  checkAdminBinding(server);
  const access = new AccessPolicy(server.adminToken, () => services.config().server.gatewayTokens);
  return listenNode(
    {
      host: server.adminHost,
      port: server.adminPort,
      tls: server.tls,
      // Artifacts have no bound; every other body has its route's.
      maxBodyBytes: Number.MAX_SAFE_INTEGER,
      chunkedBodies: true,
      maxConnections: 256,
      exclusivePort: true,
    },
    { onRequest: (head, exchange) => serve(services, access, head, exchange) },
  );
}

function serve(services: AdminServices, access: AccessPolicy, head: RequestHead, exchange: HttpExchange): void {
  if (services.registry.owns(head.path)) {
    serveRegistry(services, access, head, exchange);
    return;
  }
  const match = matchRoute(ADMIN_ROUTES, head.method, head.path);
  try {
    access.check(match.kind === 'route' ? match.route.role : 'operator', {
      authorization: head.authorization,
      host: head.header('host'),
      origin: head.header('origin'),
    });
    const { route, params } = requireRoute(match, head);
    checkFraming(head, route);
    checkTarget(head);
    const query = readQuery(route, head.query);
    const actor = actorOf(head.authorization);
    if (route.body === undefined && head.contentLength > 0)
      throw invalidArgument(`${route.method} ${route.path} takes no body`);
    if ('stream' in route) {
      stream(services, exchange, route, { params, query, actor });
      return;
    }
    const kept = new Map(route.headers?.map((name) => [name, head.header(name)]));
    const header = (name: string): string => kept.get(name) ?? '';
    exchange.receive({
      onBody: (bytes) => void answer(services, exchange, route, { params, query, bytes, header, actor }),
      onAbort: () => {},
    });
  } catch (error) {
    refuse(services, exchange, error, match, head.chunked || head.contentLength > MAX_DISCARDED);
  }
}

/** The registry reads and answers its requests itself, in MLflow's forms. */
function serveRegistry(
  { registry }: AdminServices,
  access: AccessPolicy,
  head: RequestHead,
  exchange: HttpExchange,
): void {
  const { method, path, query, contentLength, authorization } = head;
  const facts = { authorization, host: head.header('host'), origin: head.header('origin') };
  const streams = exchange.takeStreams();
  if (streams === undefined) throw new Error('the registry is served through node:http only');
  const request = { method, path, query, contentLength, actor: actorOf(authorization), ...streams };
  try {
    const claims = access.checkRegistry(facts);
    void registry.serve(claims === undefined ? request : { ...request, actor: bearerOf(claims), claims });
  } catch (error) {
    registry.refuse(request, error);
  }
}

function bearerOf(claims: NonNullable<ReturnType<AccessPolicy['checkRegistry']>>): string {
  return 'jobId' in claims ? `job ${claims.jobId}` : `gateway ${claims.gatewayId}`;
}

/** A route that answers by node's streams. */
function stream(
  services: AdminServices,
  exchange: HttpExchange,
  route: Extract<AdminRoute, { stream: unknown }>,
  asked: Omit<Received, 'bytes' | 'header'>,
): void {
  const streams = exchange.takeStreams();
  if (streams === undefined) throw new Error('streams are served through node:http only');
  const { response } = streams;
  route.stream({ ...asked, services, ...streams }).catch((thrown: unknown) => {
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    const { status, headers, body } = refusal(services, thrown);
    for (const [name, value] of headers) response.setHeader(name, value);
    response.setHeader('Cache-Control', 'no-store');
    response.writeHead(status);
    response.end(body);
  });
}

/** A database cannot store the character U+0000, and no name has it. */
function checkTarget({ path, query }: RequestHead): void {
  if (path.includes('%00') || query.includes('%00'))
    throw invalidArgument('the path or the query holds the character U+0000 (%00), which is not allowed here');
}

function checkFraming(head: RequestHead, { role }: AdminRoute): void {
  if (head.chunked) throw new SwitchyardError('length_required', 'send the body with a Content-Length');
  const most = role === 'signed' ? MAX_SIGNED_BYTES : MAX_BODY_BYTES;
  if (head.contentLength <= most) return;
  throw new SwitchyardError(
    'payload_too_large',
    `request body is ${head.contentLength} bytes; this route takes at most ${most}`,
  );
}

function readBody(route: AdminRoute, bytes: Uint8Array): unknown {
  const body = parseJsonBody(bytes);
  if (body === undefined && route.bodyRequired === true) throw invalidArgument('the body is empty; send a JSON object');
  return body;
}

function requireRoute(match: Match, head: RequestHead): { route: AdminRoute; params: Record<string, string> } {
  if (match.kind === 'route') return match;
  if (match.kind === 'method') {
    throw new SwitchyardError(
      'method_not_allowed',
      `${head.method} is not allowed here; use ${match.allowed.join(' or ')}`,
    );
  }
  throw new SwitchyardError(
    'not_found',
    `no such route ${JSON.stringify(head.path.slice(0, 200))}; GET /openapi.json lists them`,
  );
}

/** Unknown parameters are refused: a misspelt filter would silently answer everything. */
function readQuery(route: AdminRoute, text: string): URLSearchParams {
  const query = new URLSearchParams(text);
  const known = Object.keys(route.query ?? {});
  for (const key of query.keys()) {
    if (known.includes(key)) continue;
    const allowed = known.length === 0 ? 'none are known here' : `known are ${known.join(', ')}`;
    throw invalidArgument(`unknown query parameter ${JSON.stringify(key.slice(0, 100))}; ${allowed}`);
  }
  return query;
}

interface Received {
  params: Record<string, string>;
  query: URLSearchParams;
  actor: string;
  /** Valid until the first await. */
  bytes: Uint8Array;
  header(name: string): string;
}

/** Never rejects. */
async function answer(
  services: AdminServices,
  exchange: HttpExchange,
  route: Extract<AdminRoute, { handle: unknown }>,
  { bytes, ...received }: Received,
): Promise<void> {
  try {
    const { status = 200, body } = await route.handle({ ...received, bytes, body: readBody(route, bytes), services });
    const type = status === 200 ? (route.contentType ?? 'application/json') : 'application/json';
    const text = typeof body === 'string' ? body : JSON.stringify(body);
    exchange.respond(status, `Content-Type: ${type}\r\n${COMMON_HEADERS}`, text);
  } catch (error) {
    refuse(services, exchange, error, undefined, false);
  }
}

function refuse(
  services: AdminServices,
  exchange: HttpExchange,
  thrown: unknown,
  match: Match | undefined,
  close: boolean,
): void {
  const { status, headers, body } = refusal(services, thrown);
  if (status === ERROR_TABLE.method_not_allowed.http && match?.kind === 'method')
    headers.push(['Allow', match.allowed.join(', ')]);
  exchange.respond(status, `${headerBlock(headers)}\r\n${COMMON_HEADERS}`, body, close);
}

function refusal(
  services: AdminServices,
  thrown: unknown,
): { status: number; headers: [string, string][]; body: string } {
  const error = toSwitchyardError(thrown);
  const unexpected = !(thrown instanceof SwitchyardError);
  if (unexpected) services.logger.error({ err: thrown }, 'an admin request failed');
  // What is not from the table may hold paths or other details of this machine.
  const message = unexpected ? 'internal error; the log has the details' : error.message;
  const headers: [string, string][] = [['Content-Type', 'application/json']];
  if (error.code === 'unauthenticated') headers.push(['WWW-Authenticate', 'Bearer realm="switchyard admin"']);
  if (error.retryAfterMs !== undefined) headers.push(['Retry-After', String(Math.ceil(error.retryAfterMs / 1000))]);
  return { status: error.httpStatus, headers, body: JSON.stringify({ error: message, code: error.code }) };
}
