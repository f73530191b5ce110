import type { MessageTypeDefinition } from '@grpc/proto-loader';
import type { TensorSpec } from '../../config/model-config.ts';
import { loadedFirst } from '../../pipeline/dormant.ts';
import type { ModelState, ServingVersion } from '../../pipeline/types.ts';
import { MODEL_SERVICE, PREDICTION_SERVICE, packageDefinition, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { TENSORFLOW_TYPES } from '../../protocol/grpc/tensor-proto-types.ts';
import { invalidArgument, SwitchyardError } from '../../shared/errors.ts';
import type { GatewayServices } from '../services.ts';
import type { MethodRegistry } from './call.ts';
import { guard, type Handlers } from './guarded.ts';
import { findModel, findVersion } from './lookup.ts';
import type { MethodDefinition } from './service-adapter.ts';
import type { ServiceRegistrar } from './service-registrar.ts';
import { classifyExamples, predict, regressExamples, resolveVersion } from './tensorflow-inference.ts';

interface WireSpec {
  name: string;
  version?: { value: string } | null;
  version_label?: string;
  signature_name: string;
}

interface SpecRequest {
  model_spec?: WireSpec | null;
  metadata_field?: string[];
}

const STATES: Readonly<Record<ModelState, string>> = {
  UNKNOWN: 'UNKNOWN',
  LOADING: 'LOADING',
  READY: 'AVAILABLE',
  UNLOADING: 'UNLOADING',
  UNAVAILABLE: 'END',
};

/** Registers tensorflow.serving.PredictionService and ModelService. */
export function registerTensorflowServing(
  server: MethodRegistry,
  registrar: ServiceRegistrar,
  services: GatewayServices,
): void {
  const prediction = serviceDefinition(PREDICTION_SERVICE) as unknown as Record<string, MethodDefinition>;
  server.register(prediction.Predict.path, predict(services));
  server.register(prediction.Classify.path, classifyExamples(services, prediction.Classify));
  server.register(prediction.Regress.path, regressExamples(services, prediction.Regress));
  const predictionHandlers: Handlers = {
    GetModelMetadata: guard<SpecRequest>(services, 'caller', (request) => {
      const spec = readSpec(request);
      checkFields(request.metadata_field ?? []);
      return loadedFirst(services, spec.name, spec.version, () => modelMetadata(services, spec));
    }),
    MultiInference: guard(services, 'caller', () => {
      throw new SwitchyardError('unsupported', 'MultiInference is not served; call Predict, Classify or Regress');
    }),
  };
  registrar.addService(prediction, predictionHandlers);
  const modelHandlers: Handlers = {
    GetModelStatus: guard<SpecRequest>(services, 'caller', (request) => {
      const spec = readSpec(request);
      const status = (): object => modelStatus(services, spec);
      // A state is told without loading; only labels are part of the configuration.
      return spec.label === '' ? status() : loadedFirst(services, spec.name, '', status);
    }),
    HandleReloadConfigRequest: guard(services, 'control', () => {
      throw new SwitchyardError(
        'unsupported',
        'HandleReloadConfigRequest is not served; load and unload models with RepositoryModelLoad and RepositoryModelUnload',
      );
    }),
  };
  registrar.addService(serviceDefinition(MODEL_SERVICE) as unknown as Record<string, MethodDefinition>, modelHandlers);
}

type Spec = { name: string; version: string; label: string; signature: string };

function readSpec(request: SpecRequest): Spec {
  const spec = request.model_spec;
  if (spec === undefined || spec === null || spec.name === '') throw invalidArgument('model_spec.name is missing');
  return { name: spec.name, version: spec.version?.value ?? '', label: spec.version_label ?? '', signature: '' };
}

function modelStatus(services: GatewayServices, spec: Spec): object {
  const table = services.table();
  const version = resolveVersion(table, spec);
  const known = findModel(table, spec.name).index.filter(
    (status) => /^\d+$/.test(status.version) && (version === '' || status.version === version),
  );
  if (version !== '' && known.length === 0) {
    throw new SwitchyardError('not_found', `model '${spec.name}' has no version ${version}`);
  }
  return {
    model_version_status: known.map((status) => ({
      version: status.version,
      state: STATES[status.state],
      status: {
        error_code: status.state === 'UNAVAILABLE' && status.reason !== '' ? 'UNKNOWN' : 'OK',
        error_message: status.reason,
      },
    })),
  };
}

function checkFields(fields: readonly string[]): void {
  for (const field of fields) {
    if (field !== 'signature_def') throw invalidArgument(`metadata_field '${field}' is unknown; use 'signature_def'`);
  }
  if (fields.length === 0) throw invalidArgument("metadata_field is empty; use 'signature_def'");
}

function modelMetadata(services: GatewayServices, spec: Spec): object {
  const table = services.table();
  const version = findVersion(table, spec.name, resolveVersion(table, spec));
  const map = packageDefinition()['tensorflow.serving.SignatureDefMap'] as MessageTypeDefinition<object, object>;
  const value = map.serialize({ signature_def: { serving_default: signatureDef(version) } });
  return {
    model_spec: { name: spec.name, version: { value: version.version }, signature_name: '' },
    metadata: { signature_def: { type_url: 'type.googleapis.com/tensorflow.serving.SignatureDefMap', value } },
  };
}

function signatureDef(version: ServingVersion): object {
  const { inputs, outputs, maxBatchSize } = version.config.signature;
  const infos = (specs: readonly TensorSpec[]): Record<string, object> =>
    Object.fromEntries(
      specs.map((spec) => {
        const sizes = maxBatchSize > 0 ? [-1, ...spec.dims] : spec.dims;
        const info = {
          name: `${spec.name}:0`,
          dtype: TENSORFLOW_TYPES[spec.datatype].name,
          tensor_shape: { dim: sizes.map((size) => ({ size })) },
        };
        return [spec.name, info];
      }),
    );
  return { inputs: infos(inputs), outputs: infos(outputs), method_name: 'tensorflow/serving/predict' };
}
