import type { OutgoingHttpHeaders } from 'node:http2';
import type { SwitchyardError } from '../../shared/errors.ts';

export const GRPC_UNKNOWN = 2;

/** Longest grpc-message in characters: trailers must fit any client's header list. */
const LONGEST_MESSAGE = 2048;

/** Answer headers of every call; the status follows in the trailers. */
export const RESPONSE_HEADERS: OutgoingHttpHeaders = {
  ':status': 200,
  'content-type': 'application/grpc+proto',
};

export const OK_TRAILERS: OutgoingHttpHeaders = { 'grpc-status': '0' };

/** Percent-encodes a status text as gRPC asks: UTF-8, everything but printable ASCII, and the percent sign itself. */
export function encodeStatusMessage(message: string): string {
  const text = message.length > LONGEST_MESSAGE ? `${message.slice(0, LONGEST_MESSAGE - 1)}…` : message;
  const bytes = Buffer.from(text, 'utf8');
  let out = '';
  for (const byte of bytes) {
    if (byte >= 0x20 && byte <= 0x7e && byte !== 0x25) out += String.fromCharCode(byte);
    else out += `%${byte < 16 ? '0' : ''}${byte.toString(16).toUpperCase()}`;
  }
  return out;
}

/** Trailers of a failed call. A retry hint becomes gRPC's push-back, which clients with a retry policy obey. */
export function errorTrailers(error: SwitchyardError): OutgoingHttpHeaders {
  const trailers = statusTrailers(error.grpcStatus, error.message);
  if (error.retryAfterMs !== undefined) {
    trailers['grpc-retry-pushback-ms'] = String(Math.max(0, Math.ceil(error.retryAfterMs)));
  }
  return trailers;
}

export function statusTrailers(code: number, message: string): OutgoingHttpHeaders {
  return { 'grpc-status': String(code), 'grpc-message': encodeStatusMessage(message) };
}

export const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1000, m: 1, u: 1e-3, n: 1e-6 };

/** Milliseconds of a grpc-timeout header: 1 to 8 digits and a unit. NaN where it is neither. */
export function parseTimeout(header: string): number {
  const last = header.length - 1;
  if (last < 1 || last > 8) return Number.NaN;
  let digits = 0;
  for (let i = 0; i < last; i++) {
    const digit = header.charCodeAt(i) - 48;
    if (!(digit >= 0 && digit <= 9)) return Number.NaN;
    digits = digits * 10 + digit;
  }
  return digits * (UNIT_MS[header[last]] ?? Number.NaN);
}
