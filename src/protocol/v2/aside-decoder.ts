import type { InferRequest } from '../../pipeline/types.ts';
import { native } from '../../tensor/native.ts';
import { scanInferRequest } from './json-scanner.ts';
import { AsideJob } from './native-decoder.ts';

/** Who waits for a body. */
export interface DecodeListener {
  /** False: it no longer waits, and hears nothing more. */
  wanted(): boolean;
  onDecoded(request: InferRequest): void;
  onRefused(error: unknown): void;
}

interface Waiting {
  readonly model: string;
  readonly version: string;
  readonly body: Uint8Array;
  readonly jsonLength: number;
  readonly listener: DecodeListener;
}

/**
 * JSON from here on is decoded beside the loop. It would hold the loop for 0.1 ms, or 0.5 where every number is a digit; going
 * aside costs 0.03 ms.
 */
const ASIDE_BYTES = 128 * 1024;

const waiting: Waiting[] = [];
let busy = false;

/** Whether a body has so much JSON that decoding it would hold the loop for long, and can be decoded beside it. */
export function isForAside(bodyLength: number, jsonLength: number): boolean {
  const json = jsonLength < 0 ? bodyLength : jsonLength;
  return json >= ASIDE_BYTES && json <= bodyLength && native !== undefined;
}

/**
 * decodeInferRequest on a thread beside the loop, one body at a time, in the order of the calls. Answers in a turn of the loop
 * to come. `body` may not be changed until then.
 */
export function decodeAside(
  model: string,
  version: string,
  body: Uint8Array,
  jsonLength: number,
  listener: DecodeListener,
): void {
  waiting.push({ model, version, body, jsonLength, listener });
  if (!busy) startNext();
}

function startNext(): void {
  for (;;) {
    const next = waiting.shift();
    busy = next !== undefined;
    if (next === undefined) return;
    if (!next.listener.wanted()) continue;
    const job = new AsideJob(next.body, next.jsonLength, () => {
      // The thread goes on with the next one while this one is handed over.
      startNext();
      answer(next, job);
    });
    if (native!.decodeAside(job)) return;
    // There is no thread to be had.
    answer(next, undefined);
  }
}

function answer({ model, version, body, jsonLength, listener }: Waiting, job: AsideJob | undefined): void {
  if (!listener.wanted()) return;
  let request: InferRequest;
  try {
    request = job?.read(model, version) ?? scanInferRequest(model, version, body, jsonLength);
  } catch (error) {
    listener.onRefused(error);
    return;
  }
  listener.onDecoded(request);
}
