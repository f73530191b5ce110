import { SwitchyardError } from '../../shared/errors.ts';
import type { RuntimeSignature } from '../backend.ts';
import type { ReplicaChannels } from '../remote/channels.ts';
import {
  decodeConfig,
  decodeIndex,
  decodeMetadata,
  decodeReady,
  encodeIndexRequest,
  encodeModelRequest,
  type IndexEntry,
  type ModelMetadata,
  type RemoteConfig,
} from './model-codec.ts';

const SERVICE = '/inference.GRPCInferenceService';

/** Paths of the methods with messages in infer-codec.ts. */
export const MODEL_INFER = `${SERVICE}/ModelInfer`;
export const MODEL_STREAM_INFER = `${SERVICE}/ModelStreamInfer`;

/** A remote model as described by its server. */
export interface Description {
  metadata: ModelMetadata;
  config: RemoteConfig;
  signature: RuntimeSignature;
}

/** Reads metadata and configuration. Servers without ModelConfig (it is Triton's extension) have no known batch size. */
export async function describeModel(
  channels: ReplicaChannels,
  name: string,
  version: string,
  timeoutMs: number,
): Promise<Description> {
  const request = encodeModelRequest(name, version);
  const metadata = decodeMetadata(await channels.unary(`${SERVICE}/ModelMetadata`, request, timeoutMs));
  let config: RemoteConfig = { maxBatchSize: 0, decoupled: false, backend: '', optional: [] };
  try {
    config = decodeConfig(await channels.unary(`${SERVICE}/ModelConfig`, request, timeoutMs));
  } catch (error) {
    if (!(error instanceof SwitchyardError) || error.code !== 'unsupported') throw error;
  }
  for (const input of metadata.inputs) if (config.optional.includes(input.name)) input.optional = true;
  const { maxBatchSize, decoupled } = config;
  return {
    metadata,
    config,
    signature: { inputs: metadata.inputs, outputs: metadata.outputs, maxBatchSize, decoupled },
  };
}

export async function modelReady(
  channels: ReplicaChannels,
  name: string,
  version: string,
  timeoutMs: number,
): Promise<boolean> {
  return decodeReady(await channels.unary(`${SERVICE}/ModelReady`, encodeModelRequest(name, version), timeoutMs));
}

export async function repositoryIndex(channels: ReplicaChannels, timeoutMs: number): Promise<IndexEntry[]> {
  return decodeIndex(await channels.unary(`${SERVICE}/RepositoryIndex`, encodeIndexRequest(true), timeoutMs));
}
