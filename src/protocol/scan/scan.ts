import { SwitchyardError } from '../../shared/errors.ts';
import { SHARED_LIMIT } from '../json/block.ts';
import { scanExamples } from '../tfserving/classify.ts';
import { scanPredict } from '../tfserving/predict-request.ts';
import { scanInferRequest } from '../v2/json-scanner.ts';
import type { ScanAnswer, ScanForm, Scanned } from './messages.ts';

const NOTHING = new Uint8Array(0);

/** What another thread is told of a body, and the buffers that go with it. Of the body nothing goes. */
export function answerFor(body: Uint8Array, form: ScanForm): { answer: ScanAnswer; transfer: ArrayBuffer[] } {
  try {
    return packed(scan(body, form), body);
  } catch (error) {
    const { code, retryAfterMs } =
      error instanceof SwitchyardError ? error : { code: '' as const, retryAfterMs: undefined };
    const message = error instanceof Error ? error.message : String(error);
    return { answer: { kind: 'refused', code, message, retryAfterMs }, transfer: [] };
  }
}

function scan(body: Uint8Array, form: ScanForm): Scanned {
  const { model, version } = form;
  switch (form.kind) {
    case 'infer':
      return { request: scanInferRequest(model, version, body, form.jsonLength), format: 'row' };
    case 'predict':
      return scanPredict(model, version, body, form.signature);
    case 'examples':
      return { request: scanExamples(model, version, body, form.signature), format: 'row' };
  }
}

function packed(scanned: Scanned, body: Uint8Array): { answer: ScanAnswer; transfer: ArrayBuffer[] } {
  const transfer: ArrayBuffer[] = [];
  const inBody = scanned.request.inputs.map((input): [number, number] | undefined => {
    const { data } = input;
    if (data.buffer === body.buffer) {
      input.data = NOTHING;
      return [data.byteOffset - body.byteOffset, data.length];
    }
    // Small tensors share a slab, which stays here.
    if (data.length <= SHARED_LIMIT) input.data = data.slice();
    transfer.push(input.data.buffer as ArrayBuffer);
    return undefined;
  });
  return { answer: { kind: 'scanned', scanned, inBody }, transfer };
}

/** What `answerFor` has said of this body, on the thread whose body it is. Throws the error that the twin has thrown. */
export function readAnswer(answer: Exclude<ScanAnswer, { kind: 'unread' }>, body: Uint8Array): Scanned {
  if (answer.kind === 'refused') {
    const { code, message, retryAfterMs } = answer;
    throw code === '' ? new Error(message) : new SwitchyardError(code, message, { retryAfterMs });
  }
  const { scanned, inBody } = answer;
  const { request } = scanned;
  for (const [i, place] of inBody.entries()) {
    if (place === undefined) continue;
    request.inputs[i].data = new Uint8Array(body.buffer as ArrayBuffer, body.byteOffset + place[0], place[1]);
  }
  // A clone has a prototype.
  if (request.parameters !== undefined) request.parameters = Object.assign(Object.create(null), request.parameters);
  return scanned;
}
