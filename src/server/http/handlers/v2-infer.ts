import type { InferRequest, InferResponse, Served, Timings } from '../../../pipeline/types.ts';
import { type DecodeListener, isForAside } from '../../../protocol/json/aside.ts';
import { decodeAside } from '../../../protocol/v2/aside-decoder.ts';
import { applyClassification } from '../../../protocol/v2/classification.ts';
import { decodeInferRequest } from '../../../protocol/v2/infer-decoder.ts';
import {
  type EncodedResponse,
  encodeInferResponse,
  encodeInSlices,
  needsSlices,
} from '../../../protocol/v2/json-writer.ts';
import { decodeRawBody } from '../../../protocol/v2/raw-body.ts';
import { invalidArgument, SwitchyardError } from '../../../shared/errors.ts';
import { type AnswerHead, InferenceHeads, inferenceHead, threadHead } from '../answer-head.ts';
import { compress, responseEncoding } from '../compression.ts';
import { parseLength } from '../head.ts';
import type { HttpExchange, RequestHead } from '../socket.ts';
import { InferenceCall } from './inference-call.ts';
import { findVersion } from './lookup.ts';
import type { Route } from './routes.ts';
import type { HttpGateway } from './settings.ts';

/** This thread's: the socket takes a head before the next answer begins. */
const heads = new InferenceHeads();

/** `POST /v2/models/{m}[/versions/{v}]/infer`: JSON, JSON followed by binary tensors, or one raw tensor. */
export class V2InferCall extends InferenceCall implements DecodeListener<InferRequest> {
  protected override readonly protocol = 'http';
  protected override readonly needsSignature: boolean;
  /** Bytes of JSON before the binary tensors; -1: the body is JSON; 0: the body is one raw tensor. */
  private readonly jsonLength: number;
  private request: InferRequest | undefined;
  private partial: InferResponse | undefined;

  constructor(gateway: HttpGateway, exchange: HttpExchange, route: Route, head: RequestHead) {
    super(gateway, exchange, route, head);
    this.jsonLength = head.inferenceHeaderLength === '' ? -1 : readHeaderLength(head.inferenceHeaderLength);
    this.needsSignature = this.jsonLength === 0;
  }

  protected override keepsBody(bytes: number): boolean {
    return this.jsonLength >= 0 || isForAside(bytes, this.jsonLength);
  }

  protected override decode(body: Uint8Array): InferRequest | undefined {
    if (this.jsonLength !== 0) {
      if (isForAside(body.length, this.jsonLength)) {
        decodeAside(this.model, this.version, body, this.jsonLength, this);
        return undefined;
      }
      this.request = decodeInferRequest(this.model, this.version, body, this.jsonLength);
    } else {
      const { signature } = findVersion(this.gateway.services.table(), this.model, this.version).config;
      this.request = decodeRawBody(this.model, this.version, body, signature);
    }
    return this.request;
  }

  wanted(): boolean {
    return !this.isDone();
  }

  onDecoded(request: InferRequest): void {
    this.request = request;
    this.handOver(request);
  }

  onRefused(error: unknown): void {
    this.fail(error);
  }

  protected override answer(response: InferResponse, final: boolean): void {
    if (!final) {
      if (this.partial !== undefined) throw severalResponses(this.model);
      this.partial = response;
      return;
    }
    let whole = response;
    if (this.partial !== undefined) {
      if (response.outputs.length > 0) throw severalResponses(this.model);
      whole = this.partial;
    }
    const request = this.request!;
    const told = this.classified(whole, request);
    if (needsSlices(told, request)) {
      this.inTurns(encodeInSlices(told, request), (encoded) => this.complete(encoded, whole));
      return;
    }
    this.complete(encodeInferResponse(told, request), whole);
  }

  private complete(encoded: EncodedResponse, response: InferResponse): void {
    this.finish();
    this.send(encoded, this.gateway.settings.serverTiming ? response.timings : undefined);
  }

  private send({ body, jsonLength }: EncodedResponse, timings: Timings | undefined): void {
    const exchange = this.exchange;
    const binary = jsonLength >= 0;
    const from = this.gateway.settings.compressFromBytes;
    const encoding = this.acceptEncoding === '' ? '' : responseEncoding(this.acceptEncoding, body.length, binary, from);
    const { served } = this;
    if (encoding === '') {
      if (served === undefined) exchange.respondBytes(heads.of(jsonLength, timings), body);
      else exchange.respondBytes(heads.ofRouted(jsonLength, timings, served), body);
      return;
    }
    // The encoder's buffer is overwritten by the next answer while the thread pool still reads.
    const kept = Buffer.from(body);
    compress(encoding, kept, (output) => {
      const head = headOf(jsonLength, timings, served);
      if (output !== undefined) head.line(`Content-Encoding: ${encoding}`).line('Vary: Accept-Encoding');
      exchange.respondBytes(head.view(), output ?? kept);
    });
  }

  /** The response with the outputs replaced for which classes were asked. Never changes `response`: a cache may hold it. */
  private classified(response: InferResponse, request: InferRequest): InferResponse {
    if (request.outputs.length === 0 || !request.outputs.some((output) => output.classification > 0)) return response;
    const { signature } = findVersion(this.gateway.services.table(), response.model, response.version).config;
    const outputs = response.outputs.map((output) => {
      const k = request.outputs.find((requested) => requested.name === output.name)?.classification ?? 0;
      if (k === 0) return output;
      const labels = signature.outputs.find((spec) => spec.name === output.name)?.labels;
      return applyClassification(output, k, labels, signature.maxBatchSize > 0);
    });
    return { ...response, outputs };
  }
}

function headOf(jsonLength: number, timings: Timings | undefined, served: Served | undefined): AnswerHead {
  const head = inferenceHead(threadHead, jsonLength);
  if (served !== undefined) head.served(served);
  if (timings !== undefined) head.serverTiming(timings);
  return head;
}

function severalResponses(model: string): SwitchyardError {
  return new SwitchyardError(
    'unsupported',
    `model '${model}' gives several responses per request; use generate_stream or gRPC streaming`,
  );
}

function readHeaderLength(text: string): number {
  const length = parseLength(text);
  if (length < 0) {
    throw invalidArgument(
      `Inference-Header-Content-Length is ${JSON.stringify(text.slice(0, 40))}; it must be the length in bytes of the JSON part`,
    );
  }
  return length;
}
