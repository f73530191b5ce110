import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ErrorCode } from '../shared/errors.ts';
import type { AdminServices } from './services.ts';

/** A JSON Schema fragment of the OpenAPI document. */
export type Schema = Readonly<Record<string, unknown>>;

/**
 * `public`: answered to everyone (probes). `operator`: needs the admin token when one is set. `signed`: a signature over
 * the body proves who asks, which the route checks itself.
 */
export type Role = 'public' | 'operator' | 'signed';

export interface AdminRequest {
  /** Decoded path parameters by name. */
  params: Readonly<Record<string, string>>;
  query: URLSearchParams;
  /** The parsed body; undefined when it is empty. */
  body: unknown;
  /** The body as it was sent. Gone after the first await. */
  bytes: Uint8Array;
  /** Value of one of the route's `headers`; '' = it was not sent. */
  header(name: string): string;
  services: AdminServices;
  /** Who asks, for histories: the user name of HTTP Basic, else "operator". */
  actor: string;
}

/** A request that is answered by node's own streams, and has no body. */
export interface AdminStream extends Omit<AdminRequest, 'body' | 'bytes' | 'header'> {
  request: IncomingMessage;
  response: ServerResponse;
}

export interface AdminReply {
  status?: number;
  /** An object is answered as JSON; text as the route's `contentType` says. */
  body: object | string;
}

interface Described {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** With `{name}` for path parameters. */
  path: string;
  role: Role;
  operationId: string;
  summary: string;
  /** Query parameters; any other one is refused. */
  query?: Readonly<Record<string, Schema>>;
  /** Schema of the JSON body. Absent: a body is refused. */
  body?: Schema;
  bodyRequired?: boolean;
  /** Headers that `handle` reads, in lower case: the head is gone when the body has come. */
  headers?: readonly string[];
  /** Schema of the 200 answer; `string` for text. */
  response: Schema;
  /** Of the 200 answer; default: JSON. */
  contentType?: string;
  /** Errors of its own, besides those every route may answer. */
  errors?: readonly ErrorCode[];
}

interface AnsweringRoute extends Described {
  handle(request: AdminRequest): AdminReply | Promise<AdminReply>;
}

interface StreamingRoute extends Described {
  /** What it throws before `writeHead` becomes an error answer; afterwards the connection is cut. */
  stream(request: AdminStream): Promise<void>;
}

/** One row of the table that routing, access, the OpenAPI document and the tests are made from. */
export type AdminRoute = AnsweringRoute | StreamingRoute;
