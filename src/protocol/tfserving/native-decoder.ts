import type { ModelSignature } from '../../config/model-config.ts';
import type { InferRequest } from '../../pipeline/types.ts';
import { type NativeCodecs, native } from '../../tensor/native.ts';
import { type AsideJob, type BodyDecoder, type DecodeListener, decodeBeside, isForAside } from '../json/aside.ts';
import { sharedBlock, sharedOffset, takeShared } from '../json/block.ts';
import { EXAMPLES, FORM, HEAD_WORDS, INPUTS, inputAt, NAME, nextInput, PREDICT, SLAB } from '../json/decoded-words.ts';
import type { ScanForm, Scanned } from '../scan/messages.ts';
import { scanExamples } from './classify.ts';
import { expectedInputs } from './expected-inputs.ts';
import { type PredictRequest, scanPredict } from './predict-request.ts';

const NO_INPUTS = new Uint8Array(0);

/**
 * A body of TF Serving's `:predict`, see scanPredict, or of `:classify` and `:regress`, see scanExamples. The addon takes those
 * of models whose inputs are numbers; their tensors may share a slab with others', as those of v2 requests may.
 */
export class TfServingBody implements BodyDecoder<PredictRequest> {
  readonly body: Uint8Array;
  readonly jsonLength = -1;
  readonly form: number;
  readonly expected: Uint8Array;
  private readonly model: string;
  private readonly version: string;
  private readonly signature: ModelSignature;

  constructor(model: string, version: string, body: Uint8Array, signature: ModelSignature, examples: boolean) {
    this.model = model;
    this.version = version;
    this.body = body;
    this.signature = signature;
    this.form = examples ? EXAMPLES : PREDICT;
    this.expected = native === undefined ? NO_INPUTS : expectedInputs(signature);
  }

  /** Throws invalid_argument. */
  decode(): PredictRequest {
    return (native !== undefined && this.expected.length > 0 ? this.decodeNatively(native) : undefined) ?? this.scan();
  }

  /** Whether `decode` would hold the loop for long, and the addon may take the body. */
  isForAside(): boolean {
    return isForAside(this.body.length, -1) && this.expected.length > 0;
  }

  /** `decode` beside the loop, see decodeBeside, where isForAside. */
  decodeAside(listener: DecodeListener<PredictRequest>): void {
    decodeBeside(this, listener);
  }

  /** Undefined where the addon does not take the body. */
  decodeNatively(codecs: NativeCodecs): PredictRequest | undefined {
    const meta = codecs.meta;
    const block = sharedBlock();
    const slabFrom = sharedOffset();
    meta[FORM] = this.form;
    meta[INPUTS] = -1;
    meta[SLAB] = slabFrom;
    const own = codecs.decode(this.body, block.u8, this.expected);
    const request = this.readWords(meta, block.u8, own);
    if (request !== undefined) takeShared(meta[SLAB] - slabFrom);
    return request;
  }

  read({ words, slab, buffers }: AsideJob): PredictRequest | undefined {
    return this.readWords(words, slab, buffers);
  }

  scan(): PredictRequest {
    const { model, version, body, signature } = this;
    if (this.form === PREDICT) return scanPredict(model, version, body, signature);
    return { request: scanExamples(model, version, body, signature), format: 'row' };
  }

  get scanForm(): ScanForm {
    const { model, version, signature } = this;
    return { kind: this.form === PREDICT ? 'predict' : 'examples', model, version, signature };
  }

  ofScanned(scanned: Scanned): PredictRequest {
    return scanned;
  }

  private readWords(
    meta: Int32Array,
    slab: Uint8Array,
    own: readonly ArrayBuffer[] | undefined,
  ): PredictRequest | undefined {
    const count = meta[INPUTS];
    if (count < 0) return undefined;
    const { model, version, body } = this;
    const request: InferRequest = { model, version, id: '', inputs: [], outputs: [], parameters: undefined };
    for (let i = 0, at = HEAD_WORDS; i < count; i++) {
      request.inputs.push(inputAt(meta, at, this.signature.inputs[meta[at + NAME]].name, body, slab, own));
      at = nextInput(meta, at);
    }
    return { request, format: meta[FORM] === 0 ? 'row' : 'column' };
  }
}
