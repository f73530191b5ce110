import type { IncomingHttpHeaders, OutgoingHttpHeaders } from 'node:http2';

/** Headers that only their first value counts of; of others, values are joined. As node:http2 has it. */
const SINGLE = new Set([
  ':method',
  ':path',
  ':scheme',
  ':authority',
  'authorization',
  'content-length',
  'content-type',
  'grpc-timeout',
  'host',
  'te',
  'user-agent',
]);

/** Reads the addon's text of headers, name NUL value NUL …, into what node:http2 would make of them. */
export function readHeaders(text: string): IncomingHttpHeaders {
  const headers = Object.create(null) as Record<string, string | string[]>;
  const parts = text.split('\0');
  for (let i = 0; i + 1 < parts.length; i += 2) {
    const name = parts[i];
    const value = parts[i + 1];
    const known = headers[name];
    if (known === undefined) headers[name] = name === 'set-cookie' ? [value] : value;
    else if (Array.isArray(known)) known.push(value);
    else if (!SINGLE.has(name)) headers[name] = `${known}${name === 'cookie' ? '; ' : ', '}${value}`;
  }
  return headers;
}

/** Writes headers the way the addon reads them. */
export function writeHeaders(headers: OutgoingHttpHeaders): string {
  let text = '';
  for (const name in headers) {
    const value = headers[name];
    if (value === undefined) continue;
    if (Array.isArray(value)) for (const one of value) text += `${name}\0${one}\0`;
    else text += `${name}\0${value}\0`;
  }
  return text;
}

const OK_TEXT = '';

/** Trailers for the addon, which knows those of status OK itself. */
export function writeTrailers(trailers: OutgoingHttpHeaders, ok: OutgoingHttpHeaders): string {
  return trailers === ok ? OK_TEXT : writeHeaders(trailers);
}
