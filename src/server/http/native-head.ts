import type { NativeHttp, NativeHttpServer } from '../../tensor/native.ts';
import type { RequestHead } from './socket.ts';

// Fields, as in native/src/http_head.h.
const CONTENT_ENCODING = 1 << 0;
const ACCEPT_ENCODING = 1 << 1;
const INFERENCE_HEADER_LENGTH = 1 << 2;
const AUTHORIZATION = 1 << 3;
const API_KEY = 1 << 4;
const TRACEPARENT = 1 << 5;
const TIMEOUT_MS = 1 << 6;
const PRIORITY = 1 << 7;
const REQUEST_ID = 1 << 8;
const QUERY = 1 << 9;
const METHOD = 1 << 10;

const METHODS = ['', 'POST', 'GET', 'HEAD'];

/** The head as the addon tells it: only fields that are there have words, and a text is made when it is asked for. */
export class NativeHead implements RequestHead {
  method = '';
  path = '';
  contentLength = -1;
  readonly chunked = false;
  slot = 0;
  generation = 0;
  private readonly native: NativeHttp;
  private readonly shared: NativeHttpServer;
  private readonly block: Buffer;
  private present = 0;
  /** Where the words of the fields begin. */
  private at = 0;

  constructor(native: NativeHttp, shared: NativeHttpServer) {
    this.native = native;
    this.shared = shared;
    this.block = Buffer.from(shared.block);
  }

  /**
   * @param at the word that says which fields there are
   * @returns the word behind the fields
   */
  read(at: number, method: number): number {
    const present = this.shared.words[at];
    this.present = present;
    this.at = at + 1;
    this.method = METHODS[method];
    if (present === 0) return at + 1;
    if (method === 0) this.method = this.field(METHOD);
    let words = 0;
    for (let bits = present; bits !== 0; bits &= bits - 1) words += 2;
    return at + 1 + words;
  }

  /** Nothing is to be asked of it any more. */
  forget(): void {
    this.present = 0;
    this.generation = -1;
  }

  text(at: number): string {
    const { words } = this.shared;
    return this.block.toString('latin1', words[at], words[at] + words[at + 1]);
  }

  private field(bit: number): string {
    if ((this.present & bit) === 0) return '';
    let at = this.at;
    for (let bits = this.present & (bit - 1); bits !== 0; bits &= bits - 1) at += 2;
    return this.text(at);
  }

  get query(): string {
    return this.field(QUERY);
  }

  get contentEncoding(): string {
    return this.field(CONTENT_ENCODING);
  }

  get acceptEncoding(): string {
    return this.field(ACCEPT_ENCODING);
  }

  get inferenceHeaderLength(): string {
    return this.field(INFERENCE_HEADER_LENGTH);
  }

  get authorization(): string {
    return this.field(AUTHORIZATION);
  }

  get apiKey(): string {
    return this.field(API_KEY);
  }

  get traceparent(): string {
    return this.field(TRACEPARENT);
  }

  get timeoutMs(): string {
    return this.field(TIMEOUT_MS);
  }

  get priority(): string {
    return this.field(PRIORITY);
  }

  get requestId(): string {
    return this.field(REQUEST_ID);
  }

  header(name: string): string {
    const [, ...lines] = this.native.httpHead(this.shared.server, this.slot, this.generation).split('\r\n');
    for (const line of lines) {
      const colon = line.indexOf(':');
      if (colon > 0 && line.slice(0, colon).toLowerCase() === name) {
        return line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '');
      }
    }
    return '';
  }

  remoteAddress(): string {
    return this.native.httpPeer(this.shared.server, this.slot, this.generation);
  }

  certificateName(): string {
    return this.native.httpCertificateName(this.shared.server, this.slot, this.generation);
  }
}
