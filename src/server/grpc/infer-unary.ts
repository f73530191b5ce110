import type { InferRequest, InferResponse } from '../../pipeline/types.ts';
import { decodeInferRequest, peekModel } from '../../protocol/grpc/infer-decoder.ts';
import { encodeInferResponse } from '../../protocol/grpc/infer-encoder.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { GatewayServices } from '../services.ts';
import type { Call, CallReceiver, Method } from './call.ts';
import { classify, wantsClassification } from './classification.ts';
import { InferenceTask, type Prepared } from './inference-task.ts';

/** ModelInfer, straight from message bytes to the data plane and back. */
export function modelInfer(services: GatewayServices): Method {
  return {
    kind: 'unary',
    handle(message, call) {
      const task = new UnaryInference(services, call, message, call.receivedAt);
      call.receiver = task;
      task.start();
    },
    take(request, call) {
      const task = new DecodedInference(services, call, request);
      call.receiver = task;
      task.start();
    },
  };
}

class UnaryInference extends InferenceTask implements CallReceiver {
  protected readonly protocol = 'grpc';
  protected prepared: Prepared | undefined;

  protected model(): string {
    return peekModel(this.bytes);
  }

  protected prepare(): Prepared {
    const prepared = decodeInferRequest(this.bytes);
    this.prepared = wantsClassification(prepared.request) ? prepared : undefined;
    return prepared;
  }

  protected respond(response: InferResponse, final: boolean): void {
    if (!final) {
      throw new SwitchyardError(
        'unsupported',
        `model '${response.model}' is decoupled: it answers with a stream; call ModelStreamInfer`,
      );
    }
    const prepared = this.prepared;
    this.describeAnswer();
    this.call.reply(
      encodeInferResponse(
        prepared === undefined ? response : classify(this.services.table(), prepared.request, response),
      ),
    );
  }

  protected refuse(error: SwitchyardError): void {
    this.describeAnswer();
    this.call.fail(error);
  }

  cancelled(): void {
    this.cancel();
  }
}

const NO_BYTES = Buffer.alloc(0);

/** A request that the transport has decoded. Whatever is out of the ordinary about a request comes as its message. */
class DecodedInference extends UnaryInference {
  private readonly request: InferRequest;

  constructor(services: GatewayServices, call: Call, request: InferRequest) {
    super(services, call, NO_BYTES, call.receivedAt);
    this.request = request;
  }

  protected override model(): string {
    return this.request.model;
  }

  protected override prepare(): Prepared {
    return { request: this.request, timeoutMicros: 0, priority: 0 };
  }
}
