import type { IncomingMessage, ServerResponse } from 'node:http';
import type { z } from 'zod';

export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';

/** Who asks, as far as the admin port knows: the user name of HTTP Basic, else "operator". */
export interface Caller {
  actor: string;
  /** Closes when whoever asked goes away: for calls that wait. Absent: a part of this program asks. */
  response?: Pick<ServerResponse, 'once'>;
}

interface Described {
  method: Method;
  /**
   * Exact, with `{name}` for one segment and, as the last part, `{name*}` for all that follow. Parameters are decoded
   * once; a `{name*}` may then hold anything, ".." included: whoever uses it checks it.
   */
  path: string;
  operationId: string;
  summary: string;
}

/** A call whose request and answer are JSON. */
export interface JsonRoute<S extends z.ZodObject = z.ZodObject> extends Described {
  /**
   * Of path parameters, query (GET and DELETE without a body) and body together. Query values are text: numbers need
   * a schema that takes text too, see fields.ts. Unknown fields are ignored, as protobuf's JSON does.
   */
  request: S;
  /** Larger bodies are refused with 400. Default 16 MiB. */
  maxBodyBytes?: number;
  /** An object is answered as JSON with 200; text is JSON already. */
  handle(request: z.output<S>, caller: Caller): Promise<object | string>;
}

/** A call that reads and writes raw bytes by itself. */
export interface StreamRoute extends Described {
  /** Of the OpenAPI document: query parameters with their description. */
  query?: Readonly<Record<string, string>>;
  stream(call: StreamCall): Promise<void>;
}

export interface StreamCall extends Caller {
  params: Readonly<Record<string, string>>;
  query: URLSearchParams;
  /** Paused; -1: the length is not known, the body is chunked or there is none. */
  contentLength: number;
  request: IncomingMessage;
  /**
   * Answer with `writeHead` and streams; `pipeline` from node:stream/promises keeps memory flat. What the handler
   * throws before `writeHead` becomes an error answer, afterwards the connection is cut.
   */
  response: ServerResponse;
}

export type RestRoute = JsonRoute | StreamRoute;

/** Keeps the request's type for its handler, which a table of routes forgets. */
export function jsonRoute<S extends z.ZodObject>(route: JsonRoute<S>): RestRoute {
  return route as unknown as JsonRoute;
}
