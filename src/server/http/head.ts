import type { RequestHeaders, RoutedHeaders } from '../../pipeline/types.ts';
import { KeptHeaders } from './kept-headers.ts';
import type { RequestHead } from './socket.ts';

/** Beyond it a request is refused with 431; Node's own parser has the same limit. */
export const MAX_HEADER_BYTES = 16 * 1024;

/** Why a request must not be read any further; its answer closes the connection. */
export interface Refusal {
  status: number;
  message: string;
}

/**
 * Collects the headers a gateway needs, in one pass over all of them, so that a second Content-Length and any
 * Transfer-Encoding are seen: parsers that disagree on where a request ends let one client speak for another.
 */
export class HeadFields implements RequestHead {
  method = '';
  path = '';
  contentLength = -1;
  contentEncoding = '';
  acceptEncoding = '';
  inferenceHeaderLength = '';
  authorization = '';
  apiKey = '';
  traceparent = '';
  timeoutMs = '';
  priority = '';
  requestId = '';
  chunked = false;
  /** The client asked for the connection to close. */
  wantsClose = false;
  /** All headers in the order they came, and how many of them are this request's. */
  private readonly names: string[] = [];
  private readonly values: string[] = [];
  private count = 0;
  private headerBytes = 0;
  private contentLengths = 0;
  private contentLengthText = '';
  private transferEncoding = '';

  reset(): void {
    this.contentLength = -1;
    this.contentEncoding = '';
    this.acceptEncoding = '';
    this.inferenceHeaderLength = '';
    this.authorization = '';
    this.apiKey = '';
    this.traceparent = '';
    this.timeoutMs = '';
    this.priority = '';
    this.requestId = '';
    this.wantsClose = false;
    this.chunked = false;
    this.count = 0;
    this.headerBytes = 0;
    this.contentLengths = 0;
    this.contentLengthText = '';
    this.transferEncoding = '';
  }

  /** @param name lower case. Lengths are compared first: most headers then cost no string comparison. */
  add(name: string, value: string): void {
    this.names[this.count] = name;
    this.values[this.count++] = value;
    this.headerBytes += name.length + value.length + 4;
    switch (name.length) {
      case 7:
        if (name === 'api-key') this.apiKey = value;
        break;
      case 9:
        if (name === 'x-api-key') this.apiKey = value;
        break;
      case 10:
        if (name === 'connection') this.wantsClose = value.length === 5 && value.toLowerCase() === 'close';
        break;
      case 11:
        if (name === 'traceparent') this.traceparent = value;
        break;
      case 12:
        if (name === 'x-request-id') this.requestId = value;
        break;
      case 13:
        if (name === 'authorization') this.authorization = value;
        break;
      case 14:
        if (name === 'content-length') {
          this.contentLengths++;
          this.contentLengthText = value;
        }
        break;
      case 15:
        if (name === 'accept-encoding') this.acceptEncoding = value;
        break;
      case 16:
        if (name === 'content-encoding') this.contentEncoding = value;
        break;
      case 17:
        if (name === 'transfer-encoding') this.transferEncoding = value === '' ? 'empty' : value;
        break;
      case 20:
        if (name === 'x-request-timeout-ms') this.timeoutMs = value;
        break;
      case 21:
        if (name === 'x-switchyard-priority') this.priority = value;
        break;
      case 23:
        if (name === 'x-switchyard-timeout-ms') this.timeoutMs = value;
        break;
      case 31:
        if (name === 'inference-header-content-length') this.inferenceHeaderLength = value;
        break;
    }
  }

  /** Ends the pass over the headers: sets contentLength, or tells why the request must be refused. */
  complete(maxBodyBytes: number, chunkedBodies = false): Refusal | undefined {
    if (this.headerBytes > MAX_HEADER_BYTES) {
      return { status: 431, message: `request headers are ${this.headerBytes} bytes; at most ${MAX_HEADER_BYTES}` };
    }
    if (chunkedBodies && this.contentLengths === 0 && this.transferEncoding.toLowerCase() === 'chunked') {
      this.chunked = true;
    } else if (this.transferEncoding !== '') {
      // uWS's chunk parser takes bare line feeds and missing line ends, and loses its place: never let it frame a body.
      return {
        status: 411,
        message: 'Transfer-Encoding is not accepted; send the body with a Content-Length',
      };
    }
    if (this.contentLengths === 0) return undefined;
    if (this.contentLengths > 1) {
      return { status: 400, message: `${this.contentLengths} Content-Length headers; send exactly one` };
    }
    const length = parseLength(this.contentLengthText);
    if (length < 0) return { status: 400, message: 'Content-Length must be a decimal number of bytes' };
    if (length > maxBodyBytes) {
      return { status: 413, message: `request body is ${length} bytes; this server takes at most ${maxBodyBytes}` };
    }
    this.contentLength = length;
    return undefined;
  }

  get query(): string {
    return '';
  }

  /** The texts were made for the pass over all headers: asking the socket for one again costs more than looking here. */
  header(name: string): string {
    for (let i = 0; i < this.count; i++) if (this.names[i] === name) return this.values[i];
    return '';
  }

  headerList(name: string): string {
    let list = '';
    for (let i = 0; i < this.count; i++) {
      if (this.names[i] === name) list = join(list, this.values[i]);
    }
    return list;
  }

  keep({ names }: RoutedHeaders): RequestHeaders {
    return new KeptHeaders(this, names);
  }

  remoteAddress(): string {
    return '';
  }

  certificateName(): string {
    return '';
  }
}

/** A list with another value behind it; '' is none. */
export function join(list: string, value: string): string {
  return list === '' || value === '' ? list + value : `${list},${value}`;
}

/** Digits only, at most 15 of them; -1 otherwise. */
export function parseLength(text: string): number {
  if (text.length === 0 || text.length > 15) return -1;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}
