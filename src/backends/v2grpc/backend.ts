import type { ServiceError } from '@grpc/grpc-js';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Backend, BackendModel, ExecuteOptions, LoadSpec, RuntimeSignature } from '../backend.ts';
import { verdict } from '../remote/caller.ts';
import { RemoteReplicas } from '../remote/model.ts';
import { fromStatus } from '../remote/status.ts';
import { describeModel, MODEL_INFER, MODEL_STREAM_INFER, modelReady } from './client.ts';
import { decodeInferResponse, decodeStreamResponse, encodeInferRequest, type StreamForm } from './infer-codec.ts';

const DESCRIBE_TIMEOUT_MS = 10_000;
/** Connections, codec buffers: a remote model holds no weights here. */
const RESIDENT_BYTES = 256 * 1024;

/** Any server of the v2 gRPC protocol: Triton, MLServer, KServe, another Switchyard. */
export class V2GrpcBackend implements Backend {
  readonly name: string;
  readonly blocking = false;

  constructor(name: string) {
    this.name = name;
  }

  /** Parameters: those of remoteSettings, and `stream_form`. Rejects with unavailable when no replica answers. */
  async load(spec: LoadSpec): Promise<BackendModel> {
    const form = streamForm(spec);
    const replicas = await RemoteReplicas.open(spec);
    const { model, version } = replicas.settings;
    try {
      const signature = await replicas.first((channels) =>
        describeModel(channels, model, version, DESCRIBE_TIMEOUT_MS),
      );
      replicas.watch((channels, timeoutMs) => modelReady(channels, model, version, timeoutMs));
      return new V2Model(replicas, signature, form);
    } catch (error) {
      replicas.close();
      throw error;
    }
  }
}

class V2Model implements BackendModel {
  readonly signature: RuntimeSignature;
  readonly concurrency: number;
  readonly memoryBytes = RESIDENT_BYTES;
  readonly #replicas: RemoteReplicas;
  readonly #form: StreamForm;

  constructor(replicas: RemoteReplicas, signature: RuntimeSignature, form: StreamForm) {
    this.#form = form;
    this.#replicas = replicas;
    this.signature = signature;
    this.concurrency = replicas.settings.concurrency;
  }

  execute(inputs: Tensor[], options: ExecuteOptions): Promise<Tensor[]> {
    const { model, version } = this.#replicas.settings;
    const request = encodeInferRequest(model, version, inputs, options.outputs, options.parameters);
    return this.#replicas.caller.call(options.deadline, options.signal, async (replica, timeoutMs) => {
      const channels = this.#replicas.channels(replica);
      return decodeInferResponse(await channels.unary(MODEL_INFER, request, timeoutMs, options)).outputs;
    });
  }

  /** One stream for each request; responses come as the remote sends them. Never retried: some may be out already. */
  async *executeStream(inputs: Tensor[], options: ExecuteOptions): AsyncIterable<Tensor[]> {
    const { model, version } = this.#replicas.settings;
    const { set } = this.#replicas.caller;
    const timeoutMs = this.#replicas.timeLeft(options.deadline);
    // Whoever sends bare responses ends the stream behind the last one, and knows no such parameter.
    const parameters =
      this.#form === 'bare' ? options.parameters : { ...options.parameters, triton_enable_empty_final_response: true };
    const request = encodeInferRequest(model, version, inputs, options.outputs, parameters);
    const replica = set.pick();
    const call = this.#replicas.channels(replica).duplex(MODEL_STREAM_INFER, timeoutMs, options.trace);
    const abort = () => call.cancel();
    options.signal?.addEventListener('abort', abort, { once: true });
    if (options.signal?.aborted) abort();
    set.started(replica);
    let failure: SwitchyardError | undefined;
    try {
      call.write(request);
      call.end();
      for await (const bytes of call) {
        const answer = decodeStreamResponse(bytes, this.#form);
        // The server is well, the request is not.
        if (answer.error !== '') throw new SwitchyardError('internal', `the remote server answered: ${answer.error}`);
        if (answer.outputs.length > 0) yield answer.outputs;
        if (answer.final) break;
      }
    } catch (thrown) {
      failure = streamError(thrown);
      throw failure;
    } finally {
      options.signal?.removeEventListener('abort', abort);
      call.cancel();
      const kind = failure === undefined ? undefined : verdict(failure, timeoutMs);
      if (failure === undefined) set.succeeded(replica);
      else if (kind === undefined) set.ended(replica);
      else set.failed(replica, kind);
    }
  }

  absence(): string {
    return this.#replicas.absence();
  }

  watchAbsence(changed: () => void): void {
    this.#replicas.watchAbsence(changed);
  }

  async unload(): Promise<void> {
    this.#replicas.close();
  }
}

function streamForm({ config, model }: LoadSpec): StreamForm {
  const text = config.parameters.stream_form ?? 'triton';
  if (text === 'triton' || text === 'bare') return text;
  throw invalidArgument(`parameter "stream_form" of model "${model}" is "${text}"; allowed: triton, bare`);
}

function streamError(thrown: unknown): SwitchyardError {
  if (thrown instanceof SwitchyardError) return thrown;
  const { code, details } = thrown as Partial<ServiceError>;
  return fromStatus(code ?? 2, details ?? String(thrown));
}
