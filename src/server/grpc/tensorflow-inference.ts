import type { InferResponse, ServingTable } from '../../pipeline/types.ts';
import { type ExampleInput, examplesToTensors } from '../../protocol/grpc/examples.ts';
import {
  decodePredictRequest,
  encodePredictResponse,
  type ModelSpec,
  peekModelSpec,
} from '../../protocol/grpc/predict-codec.ts';
import { frameMessage } from '../../protocol/grpc/wire-writer.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { GatewayServices } from '../services.ts';
import type { Call, CallReceiver, Method } from './call.ts';
import { InferenceTask, type Prepared } from './inference-task.ts';
import { findModel, findVersion } from './lookup.ts';
import type { MethodDefinition } from './service-adapter.ts';
import { toClasses, toRegressions } from './tensorflow-results.ts';

const DEFAULT_SIGNATURE = 'serving_default';

/** PredictionService.Predict. */
export function predict(services: GatewayServices): Method {
  return taskMethod((call, message) => new Predict(services, call, message, call.receivedAt));
}

/** PredictionService.Classify and Regress: examples in, the model's scores or values out. */
export function classifyExamples(services: GatewayServices, definition: MethodDefinition): Method {
  return taskMethod((call, message) => new ExampleInference(services, call, message, definition, toClasses));
}

export function regressExamples(services: GatewayServices, definition: MethodDefinition): Method {
  return taskMethod((call, message) => new ExampleInference(services, call, message, definition, toRegressions));
}

function taskMethod(make: (call: Call, message: Buffer) => SingleAnswer): Method {
  return {
    kind: 'unary',
    handle(message, call) {
      const task = make(call, message);
      call.receiver = task;
      task.start();
    },
  };
}

/** A request that is answered once, or not at all. */
abstract class SingleAnswer extends InferenceTask implements CallReceiver {
  protected readonly protocol = 'tfs-grpc';

  protected abstract encode(response: InferResponse): Buffer;

  protected model(): string {
    return peekModelSpec(this.bytes).name;
  }

  protected respond(response: InferResponse, final: boolean): void {
    if (!final) {
      throw new SwitchyardError(
        'unsupported',
        `model '${response.model}' is decoupled: it answers with a stream; call inference.GRPCInferenceService/ModelStreamInfer`,
      );
    }
    this.describeAnswer();
    this.call.reply(this.encode(response));
  }

  protected refuse(error: SwitchyardError): void {
    this.describeAnswer();
    this.call.fail(error);
  }

  cancelled(): void {
    this.cancel();
  }
}

class Predict extends SingleAnswer {
  /** Labels are part of the configuration. */
  protected override needsSignature(): boolean {
    return peekModelSpec(this.bytes).label !== '';
  }

  protected prepare(): Prepared {
    const { spec, inputs, outputs } = decodePredictRequest(this.bytes, this.services.server.maxBodyBytes);
    return {
      request: {
        model: spec.name,
        version: resolveVersion(this.services.table(), spec),
        id: '',
        inputs,
        outputs: outputs.map((name) => ({ name, binary: true, classification: 0 })),
        parameters: undefined,
      },
      timeoutMicros: 0,
      priority: 0,
    };
  }

  protected encode(response: InferResponse): Buffer {
    return encodePredictResponse(response);
  }
}

class ExampleInference extends SingleAnswer {
  private readonly definition: MethodDefinition;
  private readonly result: typeof toClasses | typeof toRegressions;

  constructor(
    services: GatewayServices,
    call: Call,
    message: Buffer,
    definition: MethodDefinition,
    result: typeof toClasses | typeof toRegressions,
  ) {
    super(services, call, message, call.receivedAt);
    this.definition = definition;
    this.result = result;
  }

  protected override needsSignature(): boolean {
    return true;
  }

  protected prepare(): Prepared {
    const table = this.services.table();
    const spec = peekModelSpec(this.bytes);
    const version = resolveVersion(table, spec);
    const { signature } = findVersion(table, spec.name, version).config;
    const { input } = this.decode();
    const inputs = examplesToTensors(input ?? {}, signature.inputs, signature.maxBatchSize > 0);
    return {
      request: { model: spec.name, version, id: '', inputs, outputs: [], parameters: undefined },
      timeoutMicros: 0,
      priority: 0,
    };
  }

  protected encode(response: InferResponse): Buffer {
    const versions = this.services.table().models.get(response.model)?.versions;
    const served = versions?.find((candidate) => candidate.version === response.version);
    const version = /^\d+$/.test(response.version) ? { value: response.version } : undefined;
    const message = {
      result: this.result(response, served?.config.signature.outputs ?? []),
      model_spec: { name: response.model, version, signature_name: DEFAULT_SIGNATURE },
    };
    return frameMessage(this.definition.responseSerialize(message as never));
  }

  private decode(): { input?: ExampleInput | null } {
    try {
      return this.definition.requestDeserialize(this.bytes) as { input?: ExampleInput | null };
    } catch (error) {
      throw invalidArgument(`malformed request message: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
}

/** The version a spec means: its number, what its label points at, or '' for the policy's. Throws on unknown signatures. */
export function resolveVersion(table: ServingTable, spec: ModelSpec): string {
  if (spec.signature !== '' && spec.signature !== DEFAULT_SIGNATURE) {
    throw invalidArgument(
      `signature_name '${spec.signature}' is not served; use '${DEFAULT_SIGNATURE}' or leave it empty`,
    );
  }
  if (spec.label === '') return spec.version;
  for (const { config } of findModel(table, spec.name).versions) {
    if (Object.hasOwn(config.versionLabels, spec.label)) return config.versionLabels[spec.label];
  }
  throw new SwitchyardError('not_found', `model '${spec.name}' has no version labelled '${spec.label}'`);
}
