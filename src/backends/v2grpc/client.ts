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
  type RemoteConfig,
} from './model-codec.ts';

const SERVICE = '/inference.GRPCInferenceService';

/** Paths of the methods with messages in infer-codec.ts. */
export const MODEL_INFER = `${SERVICE}/ModelInfer`;
export const MODEL_STREAM_INFER = `${SERVICE}/ModelStreamInfer`;

/** Reads metadata and configuration. The batch size is unknown of servers without ModelConfig, Triton's extension. */
export async function describeModel(
  channels: ReplicaChannels,
  name: string,
  version: string,
  timeoutMs: number,
): Promise<RuntimeSignature> {
  const request = encodeModelRequest(name, version);
  const metadata = decodeMetadata(await channels.unary(`${SERVICE}/ModelMetadata`, request, timeoutMs));
  let config: RemoteConfig | undefined;
  try {
    config = decodeConfig(await channels.unary(`${SERVICE}/ModelConfig`, request, timeoutMs));
  } catch (error) {
    if (!(error instanceof SwitchyardError) || error.code !== 'unsupported') throw error;
  }
  for (const input of metadata.inputs) if (config?.optional.includes(input.name)) input.optional = true;
  const { inputs, outputs } = metadata;
  return { inputs, outputs, maxBatchSize: config?.maxBatchSize, decoupled: config?.decoupled };
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
