import { invalidArgument } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { Backend, BackendModel, ExecuteOptions, LoadSpec, RuntimeSignature } from '../backend.ts';
import { RemoteReplicas } from '../remote/model.ts';
import {
  decodeAvailable,
  decodePredict,
  decodeSignature,
  encodeMetadataRequest,
  encodePredict,
  encodeStatusRequest,
  type ModelSpec,
} from './messages.ts';

const PREDICT = '/tensorflow.serving.PredictionService/Predict';
const METADATA = '/tensorflow.serving.PredictionService/GetModelMetadata';
const STATUS = '/tensorflow.serving.ModelService/GetModelStatus';

const DESCRIBE_TIMEOUT_MS = 10_000;
/** Connections, codec buffers: a remote model holds no weights here. */
const RESIDENT_BYTES = 256 * 1024;

/** TensorFlow Serving over its gRPC PredictionService. */
export class TfServingBackend implements Backend {
  readonly name = 'tfserving';
  readonly blocking = false;

  /**
   * Parameters: those of remoteSettings, `signature_name` (serving_default) and `version_label`.
   * Rejects with unavailable when no replica answers.
   */
  async load(spec: LoadSpec): Promise<BackendModel> {
    const replicas = await RemoteReplicas.open(spec);
    try {
      const target = modelSpec(spec, replicas.settings.model, replicas.settings.version);
      const request = encodeMetadataRequest(target);
      const signature = await replicas.first(async (channels) =>
        decodeSignature(await channels.unary(METADATA, request, DESCRIBE_TIMEOUT_MS), target.signature),
      );
      const status = encodeStatusRequest(target);
      replicas.watch(async (channels, timeoutMs) => decodeAvailable(await channels.unary(STATUS, status, timeoutMs)));
      return new TfModel(replicas, target, signature);
    } catch (error) {
      replicas.close();
      throw error;
    }
  }
}

class TfModel implements BackendModel {
  readonly signature: RuntimeSignature;
  readonly concurrency: number;
  readonly memoryBytes = RESIDENT_BYTES;
  readonly #replicas: RemoteReplicas;
  readonly #target: ModelSpec;

  constructor(replicas: RemoteReplicas, target: ModelSpec, signature: RuntimeSignature) {
    this.#replicas = replicas;
    this.#target = target;
    this.signature = signature;
    this.concurrency = replicas.settings.concurrency;
  }

  execute(inputs: Tensor[], options: ExecuteOptions): Promise<Tensor[]> {
    const request = encodePredict(this.#target, inputs, options.outputs);
    return this.#replicas.caller.call(options.deadline, options.signal, async (replica, timeoutMs) => {
      const channels = this.#replicas.channels(replica);
      return decodePredict(await channels.unary(PREDICT, request, timeoutMs, options));
    });
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

function modelSpec(spec: LoadSpec, name: string, version: string): ModelSpec {
  const { signature_name: signature = 'serving_default', version_label: label = '' } = spec.config.parameters;
  if (version !== '' && !/^\d{1,18}$/.test(version)) {
    throw invalidArgument(`parameter "remote_version" of model "${spec.model}" is "${version}"; allowed: a number`);
  }
  if (version !== '' && label !== '') {
    throw invalidArgument(`model "${spec.model}": remote_version and version_label exclude each other`);
  }
  return { name, version, label, signature };
}
