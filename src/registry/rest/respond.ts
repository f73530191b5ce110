import type { IncomingMessage, ServerResponse } from 'node:http';
import { SwitchyardError } from '../../shared/errors.ts';
import { REGISTRY_ERRORS, RegistryError, type RegistryErrorCode } from '../errors.ts';

export const JSON_HEADERS = [
  'Content-Type',
  'application/json',
  'Cache-Control',
  'no-store',
  'X-Content-Type-Options',
  'nosniff',
] as const;

/** Answers an error in MLflow's form, or in the admin API's under /api/v1. After the head is out, cuts the connection. */
export function sendError(
  call: { path: string; request: IncomingMessage; response: ServerResponse },
  thrown: unknown,
): void {
  const { request, response } = call;
  if (response.headersSent || response.destroyed) {
    response.destroy();
    return;
  }
  const error = toRegistryError(thrown);
  const form = call.path.startsWith('/api/v1/')
    ? { error: error.message, code: error.code }
    : { error_code: error.registryCode, message: error.message };
  const body = Buffer.from(JSON.stringify(form));
  const headers: string[] = [...JSON_HEADERS, 'Content-Length', String(body.byteLength)];
  const allow = response.getHeader('Allow');
  if (allow !== undefined) headers.push('Allow', String(allow));
  if (error.code === 'unauthenticated') headers.push('WWW-Authenticate', 'Basic realm="switchyard admin"');
  if (error.retryAfterMs !== undefined) headers.push('Retry-After', String(Math.ceil(error.retryAfterMs / 1000)));
  // What is left of an unread body is not worth reading: the answer is the connection's last.
  if (!request.complete) headers.push('Connection', 'close');
  response.writeHead(error.httpStatus, headers);
  response.end(body);
}

/** Errors that are not from a table may hold paths or other details of this machine: their text stays here. */
function toRegistryError(thrown: unknown): RegistryError {
  if (thrown instanceof RegistryError) return thrown;
  if (thrown instanceof SwitchyardError)
    return new RegistryError(codeFor(thrown), thrown.message, {
      status: thrown.httpStatus,
      ...(thrown.retryAfterMs === undefined ? {} : { retryAfterMs: thrown.retryAfterMs }),
    });
  if ((thrown as { code?: string } | undefined)?.code === 'SQLITE_FULL')
    return new RegistryError('RESOURCE_EXHAUSTED', "the disk of the registry's database is full; free space on it");
  return new RegistryError('INTERNAL_ERROR', 'internal error; the log has the details');
}

function codeFor(error: SwitchyardError): RegistryErrorCode {
  const found = Object.entries(REGISTRY_ERRORS).find(([, { code }]) => code === error.code);
  return (found?.[0] ?? 'INTERNAL_ERROR') as RegistryErrorCode;
}
