import type { PackageDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { fromJSON } from '@grpc/proto-loader';
import protobuf from 'protobufjs';
import { INFERENCE_PROTO } from './inference-proto.ts';
import { MODEL_CONFIG_PROTO } from './model-config-proto.ts';
import { TENSORFLOW_ERROR_PROTO, TENSORFLOW_PROTO, TENSORFLOW_SERVING_PROTO } from './tensorflow-proto.ts';

/** Names of the services in the package definition. */
export const INFERENCE_SERVICE = 'inference.GRPCInferenceService';
export const PREDICTION_SERVICE = 'tensorflow.serving.PredictionService';
export const MODEL_SERVICE = 'tensorflow.serving.ModelService';

let definition: PackageDefinition | undefined;

/**
 * Every message and service this server speaks, in the form grpc-js and the reflection service read: snake_case field
 * names, 64-bit integers as strings, enums by name, defaults filled in. Parsed once per thread, from text that is part of the program.
 */
export function packageDefinition(): PackageDefinition {
  if (definition === undefined) {
    const root = new protobuf.Root();
    for (const file of ['google/protobuf/any.proto', 'google/protobuf/wrappers.proto']) {
      root.addJSON(protobuf.common.get(file)!.nested!);
    }
    for (const source of [
      MODEL_CONFIG_PROTO,
      INFERENCE_PROTO,
      TENSORFLOW_ERROR_PROTO,
      TENSORFLOW_PROTO,
      TENSORFLOW_SERVING_PROTO,
    ]) {
      protobuf.parse(source, root, { keepCase: true });
    }
    definition = fromJSON(root.toJSON(), {
      keepCase: true,
      longs: String,
      enums: String,
      defaults: true,
      oneofs: true,
    });
  }
  return definition;
}

/** The definition of one of the services named above. */
export function serviceDefinition(name: string): ServiceDefinition {
  return packageDefinition()[name] as ServiceDefinition;
}
