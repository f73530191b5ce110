import type { Served } from '../../../pipeline/types.ts';
import { SwitchyardError, toSwitchyardError } from '../../../shared/errors.ts';
import { plainNumber } from '../../../shared/plain-number.ts';
import { servedLines } from '../answer-head.ts';
import type { HttpExchange } from '../socket.ts';
import { errorBody, JSON_HEADERS } from '../status.ts';
import type { HttpSettings } from './settings.ts';

/** Answers 200 with JSON. 64-bit integers outside the safe range are written as strings. */
export function respondJson(exchange: HttpExchange, value: unknown): void {
  exchange.respond(200, JSON_HEADERS, JSON.stringify(value, plainNumber));
}

/** Answers with the error's status, `{"error": …}` and, for 429 and 503, Retry-After. */
export function respondError(exchange: HttpExchange, thrown: unknown, settings: HttpSettings, served?: Served): void {
  const error = publicError(thrown);
  let status = error.httpStatus;
  if (error.code === 'overloaded') status = settings.overloadStatus;
  let headers = JSON_HEADERS;
  if (status === 429 || status === 503) headers += `\r\nRetry-After: ${retryAfterSeconds(error)}`;
  if (status === 401) headers += '\r\nWWW-Authenticate: Bearer';
  exchange.respond(status, headers + servedLines(served), errorBody(error.message));
}

/** Errors that are not ours may quote paths and addresses: the client learns only that something failed here. */
export function publicError(thrown: unknown): SwitchyardError {
  if (thrown instanceof SwitchyardError) return thrown;
  return new SwitchyardError('internal', 'internal error', { cause: toSwitchyardError(thrown) });
}

function retryAfterSeconds(error: SwitchyardError): number {
  return Math.max(1, Math.ceil((error.retryAfterMs ?? 1000) / 1000));
}
