import type { InferRequest, InferResponse } from '../../../pipeline/types.ts';
import {
  decodeGenerateRequest,
  encodeGenerateErrorEvent,
  encodeGenerateEvent,
  encodeGenerateResponse,
} from '../../../protocol/v2/generate.ts';
import { SwitchyardError } from '../../../shared/errors.ts';
import { servedLines } from '../answer-head.ts';
import { JSON_HEADERS } from '../status.ts';
import { publicError } from './answers.ts';
import { InferenceCall } from './inference-call.ts';
import { findVersion } from './lookup.ts';

const STREAM_HEADERS = 'Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nX-Accel-Buffering: no';

/** Triton's generate extension: a flat JSON object in, a flat one out. */
export class GenerateCall extends InferenceCall {
  protected override readonly protocol = 'http';
  protected override readonly needsSignature = true;
  private partial: InferResponse | undefined;

  protected override keepsBody(): boolean {
    return true;
  }

  protected override decode(body: Uint8Array): InferRequest {
    const { signature } = findVersion(this.gateway.services.table(), this.model, this.version).config;
    return decodeGenerateRequest(this.model, this.version, body, signature);
  }

  protected override answer(response: InferResponse, final: boolean): void {
    const empty = response.outputs.length === 0;
    if (this.partial !== undefined && !empty) {
      throw new SwitchyardError(
        'unsupported',
        `model '${this.model}' gives several responses for this request; use generate_stream`,
      );
    }
    if (!final) {
      this.partial ??= response;
      return;
    }
    const whole = this.partial ?? response;
    const body = encodeGenerateResponse(whole);
    this.finish();
    this.exchange.respond(200, JSON_HEADERS + this.answerLines(whole), body);
  }
}

/** The same as server-sent events, one per response of the model. */
export class GenerateStreamCall extends InferenceCall {
  protected override readonly protocol = 'http';
  protected override readonly needsSignature = true;
  private started = false;
  /** Bytes written since the peer last kept up. */
  private backlog = 0;

  protected override keepsBody(): boolean {
    return true;
  }

  protected override decode(body: Uint8Array): InferRequest {
    const { signature } = findVersion(this.gateway.services.table(), this.model, this.version).config;
    return decodeGenerateRequest(this.model, this.version, body, signature);
  }

  protected override answer(response: InferResponse, final: boolean): void {
    // An empty final response only says that the stream is over.
    const event = final && response.outputs.length === 0 ? undefined : encodeGenerateEvent(response);
    this.begin();
    if (event !== undefined) this.send(event);
    if (final && !this.isDone()) {
      this.finish();
      this.exchange.endStream();
    }
  }

  private begin(): void {
    if (this.started) return;
    this.started = true;
    this.exchange.startStream(200, STREAM_HEADERS + servedLines(this.served));
  }

  private send(event: Uint8Array): void {
    const length = event.byteLength;
    if (this.exchange.write(event)) {
      this.backlog = 0;
      return;
    }
    this.backlog += length;
    if (this.backlog > this.gateway.settings.maxStreamBacklogBytes) {
      // Nobody reads: waiting would keep ever more of the answer in memory.
      this.cancel();
      this.exchange.destroy();
    }
  }

  onWritable(): void {
    this.backlog = 0;
  }

  protected override answerError(error: unknown): void {
    if (!this.started) {
      super.answerError(error);
      return;
    }
    this.exchange.write(encodeGenerateErrorEvent(publicError(error).message));
    this.exchange.endStream();
  }
}
