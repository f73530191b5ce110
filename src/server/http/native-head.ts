import type { HeaderBytes, RequestHeaders, RoutedHeaders } from '../../pipeline/types.ts';
import type { NativeHttp, NativeHttpServer } from '../../tensor/native.ts';
import { join } from './head.ts';
import { type HeaderSource, NativeHeaders } from './native-headers.ts';
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

/** As kMostAsked in native/src/http_head.h. */
const MOST_ASKED = 16;

/** As kRepeats in native/src/http_delivery.cc. */
const REPEATS = 1 << 30;

/** Instead of a length, as kByNumber in native/src/http_delivery.cc. */
const BY_NUMBER = -1;

const METHODS = ['', 'POST', 'GET', 'HEAD'];

/** The head as the addon tells it: only fields that are there have words, and a text is made when it is asked for. */
export class NativeHead implements RequestHead, HeaderSource {
  method = '';
  path = '';
  contentLength = -1;
  readonly chunked = false;
  slot = 0;
  generation = 0;
  turn = 0;
  private readonly native: NativeHttp;
  private readonly shared: NativeHttpServer;
  private readonly block: Buffer;
  /** By the numbers that the addon gave them: paths, and values of further headers. */
  private readonly texts: string[] = [];
  private present = 0;
  /** Where the words of the fields begin. */
  private at = 0;
  /** Names of further headers in the order that the addon tells of them. */
  private readonly asked: string[] = [];
  /** How many of them this request tells of, which of them it has, and where the words of those begin. */
  private told = 0;
  /** There are several of one of them. */
  private repeats = false;
  private has = 0;
  private askedAt = 0;
  /** The headers that were kept last, and the places of their names. */
  private kept: RoutedHeaders | undefined;
  private places: number[] = [];
  private readonly found: HeaderBytes;

  constructor(native: NativeHttp, shared: NativeHttpServer) {
    this.native = native;
    this.shared = shared;
    this.block = Buffer.from(shared.block);
    this.found = { block: this.block, at: 0, length: 0 };
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
    if (method === 0) this.method = this.field(METHOD);
    const further = at + 1 + wordsOf(present);
    const asked = this.shared.words[further];
    this.told = (asked & ~REPEATS) >>> MOST_ASKED;
    this.repeats = (asked & REPEATS) !== 0;
    this.has = asked & ((1 << MOST_ASKED) - 1);
    this.askedAt = further + 1;
    return further + 1 + wordsOf(this.has);
  }

  /** Nothing is to be asked of it any more. */
  forget(): void {
    this.present = 0;
    this.told = 0;
    this.generation = -1;
  }

  text(at: number): string {
    const { words } = this.shared;
    return this.block.toString('latin1', words[at], words[at] + words[at + 1]);
  }

  /** A text by its number. */
  known(number: number): string {
    return this.texts[number];
  }

  /** @param at the words that say where the text lies that has this number from now on */
  learn(number: number, at: number): void {
    const { texts } = this;
    // One after the other: an array with wide gaps would become a table of hashes.
    while (texts.length <= number) texts.push('');
    texts[number] = this.text(at);
  }

  private field(bit: number): string {
    if ((this.present & bit) === 0) return '';
    return this.text(this.at + wordsOf(this.present & (bit - 1)));
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

  /** A name that was asked for once is told of from the next request on, as long as there is room for names. */
  header(name: string): string {
    const place = this.placeOf(name, false);
    if (place >= this.told) return this.search(name);
    const at = this.wordsAt(place);
    if (at < 0) return '';
    return this.shared.words[at + 1] === BY_NUMBER ? this.texts[this.shared.words[at]] : this.text(at);
  }

  headerList(name: string): string {
    const known = this.placeOf(name, false) < this.told;
    return known && !this.repeats ? this.header(name) : this.values(name, this.slot, this.generation).reduce(join, '');
  }

  keep(headers: RoutedHeaders): RequestHeaders {
    const { names, units } = headers;
    if (headers !== this.kept) {
      this.places = names.map((name) => this.placeOf(name, units.includes(name)));
      this.kept = headers;
    }
    const { words } = this.shared;
    const values = new Array<string | number | undefined>(names.length);
    for (let i = 0; i < names.length; i++) {
      const place = this.places[i];
      if (place >= this.told) {
        values[i] = this.search(names[i]) || undefined;
        continue;
      }
      const at = this.wordsAt(place);
      values[i] = at < 0 ? undefined : words[at + 1] === BY_NUMBER ? this.texts[words[at]] : at;
    }
    return new NativeHeaders(this, this.slot, this.generation, names, values);
  }

  /** Where the bytes lie of a text that the words at `at` tell of. */
  bytes(at: number): HeaderBytes {
    const { found } = this;
    found.at = this.shared.words[at];
    found.length = this.shared.words[at + 1];
    return found;
  }

  /** Of an asked name; MOST_ASKED: there is no room for it. */
  private placeOf(name: string, unalike: boolean): number {
    const place = this.asked.indexOf(name);
    if (place >= 0) return place;
    if (this.asked.length === MOST_ASKED || this.native.httpAsk(this.shared.server, name, unalike) < 0)
      return MOST_ASKED;
    return this.asked.push(name) - 1;
  }

  /** Where the words begin of a name that this request tells of; -1: it has no such header. */
  private wordsAt(place: number): number {
    const bit = 1 << place;
    return (this.has & bit) === 0 ? -1 : this.askedAt + wordsOf(this.has & (bit - 1));
  }

  search(name: string, slot: number = this.slot, generation: number = this.generation): string {
    return this.values(name, slot, generation)[0] ?? '';
  }

  private values(name: string, slot: number, generation: number): string[] {
    const values: string[] = [];
    const [, ...lines] = this.native.httpHead(this.shared.server, slot, generation).split('\r\n');
    for (const line of lines) {
      const colon = line.indexOf(':');
      if (colon > 0 && line.slice(0, colon).toLowerCase() === name) {
        values.push(line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, ''));
      }
    }
    return values;
  }

  remoteAddress(): string {
    return this.native.httpPeer(this.shared.server, this.slot, this.generation);
  }

  certificateName(): string {
    return this.native.httpCertificateName(this.shared.server, this.slot, this.generation);
  }
}

/** Two for each bit. */
function wordsOf(bits: number): number {
  let words = 0;
  for (let left = bits; left !== 0; left &= left - 1) words += 2;
  return words;
}
