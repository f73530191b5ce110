import { type NativeJob, native } from '../../tensor/native.ts';
import { ScanBeside } from '../scan/beside.ts';
import type { ScanForm, Scanned } from '../scan/messages.ts';
import { FORM, INPUTS, WORDS } from './decoded-words.ts';

/** Who waits for a body. */
export interface DecodeListener<T> {
  /** False: it no longer waits, and hears nothing more. */
  wanted(): boolean;
  onDecoded(decoded: T): void;
  onRefused(error: unknown): void;
}

/** How a body is decoded. */
export interface BodyDecoder<T> {
  readonly body: Uint8Array;
  /** For the addon: bytes of JSON, -1: all of it. */
  readonly jsonLength: number;
  /** For the addon: what the body is, of decoded-words.ts, and which inputs it may name. */
  readonly form: number;
  readonly expected: Uint8Array;
  /** What the addon has left in the job; undefined where it does not take the body. */
  read(job: AsideJob): T | undefined;
  /** All of it by the TypeScript twin. */
  scan(): T;
  /** For the twin on a thread beside the loop, and what is made of its answer. */
  readonly scanForm: ScanForm;
  ofScanned(scanned: Scanned): T;
}

interface Waiting {
  readonly decoder: BodyDecoder<unknown>;
  readonly listener: DecodeListener<unknown>;
}

/**
 * JSON from here on is decoded beside the loop. It would hold the loop for 0.1 ms, or 0.5 where every number is a digit; going
 * aside costs 0.03 ms.
 */
const ASIDE_BYTES = 128 * 1024;
const JOB_SLAB_BYTES = 16384;

const waiting: Waiting[] = [];
let busy = false;
let scans: ScanBeside | undefined;

/** Whether a body has so much JSON that decoding it would hold the loop for long, and can be decoded beside it. */
export function isForAside(bodyLength: number, jsonLength: number): boolean {
  const json = jsonLength < 0 ? bodyLength : jsonLength;
  return json >= ASIDE_BYTES && json <= bodyLength && native !== undefined;
}

/** A body that the addon decodes on a thread of its own. */
export class AsideJob implements NativeJob {
  readonly body: Uint8Array;
  readonly expected: Uint8Array;
  /** Not the thread's: requests that come meanwhile are written into that. */
  readonly slab = new Uint8Array(JOB_SLAB_BYTES);
  readonly words = new Int32Array(WORDS);
  readonly buffers: ArrayBuffer[] = [];
  readonly done: () => void;

  constructor({ body, jsonLength, form, expected }: BodyDecoder<unknown>, done: () => void) {
    this.body = body;
    this.expected = expected;
    this.done = done;
    this.words[FORM] = form;
    this.words[INPUTS] = jsonLength;
  }
}

/**
 * Decodes on a thread beside the loop, one body at a time, in the order of the calls. Answers in a turn of the loop to come. The
 * body may not be changed until then.
 */
export function decodeBeside<T>(decoder: BodyDecoder<T>, listener: DecodeListener<T>): void {
  waiting.push({ decoder, listener: listener as DecodeListener<unknown> });
  if (!busy) startNext();
}

function startNext(): void {
  for (;;) {
    const next = waiting.shift();
    busy = next !== undefined;
    if (next === undefined) return;
    if (!next.listener.wanted()) continue;
    const job = new AsideJob(next.decoder, () => {
      // The thread goes on with the next one while this one is handed over.
      startNext();
      answer(next, job);
    });
    if (native!.decodeAside(job)) return;
    // There is no thread to be had.
    answer(next, undefined);
  }
}

function answer({ decoder, listener }: Waiting, job: AsideJob | undefined): void {
  if (!listener.wanted()) return;
  let decoded: unknown;
  try {
    decoded = job === undefined ? undefined : decoder.read(job);
  } catch (error) {
    listener.onRefused(error);
    return;
  }
  if (decoded !== undefined) listener.onDecoded(decoded);
  else if (isForAside(decoder.body.length, decoder.jsonLength)) scanBeside(decoder, listener);
  else scanHere(decoder, listener);
}

/** The twin takes several times as long as the addon. */
function scanBeside(decoder: BodyDecoder<unknown>, listener: DecodeListener<unknown>): void {
  scans ??= new ScanBeside(native!);
  scans.read(decoder.body, decoder.scanForm, {
    wanted: () => listener.wanted(),
    onScanned: (scanned) => listener.onDecoded(decoder.ofScanned(scanned)),
    onRefused: (error) => listener.onRefused(error),
    onUnread: () => scanHere(decoder, listener),
  });
}

function scanHere(decoder: BodyDecoder<unknown>, listener: DecodeListener<unknown>): void {
  let decoded: unknown;
  try {
    decoded = decoder.scan();
  } catch (error) {
    listener.onRefused(error);
    return;
  }
  listener.onDecoded(decoded);
}
