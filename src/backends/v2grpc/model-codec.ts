import type { TensorSpec } from '../../config/model-config.ts';
import { Reader, Writer } from '../remote/protobuf.ts';
import { knownDatatype } from './infer-codec.ts';

/** ModelMetadataRequest, ModelConfigRequest and ModelReadyRequest are the same two fields. */
export function encodeModelRequest(name: string, version: string): Buffer {
  const request = new Writer().string(1, name);
  if (version !== '') request.string(2, version);
  return request.finish();
}

export function encodeIndexRequest(readyOnly: boolean): Buffer {
  return readyOnly ? new Writer().varint(2, 1).finish() : Buffer.alloc(0);
}

/** ServerReadyResponse and ModelReadyResponse. */
export function decodeReady(bytes: Uint8Array): boolean {
  const reader = new Reader(bytes);
  let ready = false;
  while (reader.next()) {
    if (reader.field === 1) ready = reader.number() !== 0;
    else reader.skip();
  }
  return ready;
}

/** Shapes as served: batch dimension included where the model batches. */
export interface ModelMetadata {
  inputs: TensorSpec[];
  outputs: TensorSpec[];
}

export function decodeMetadata(bytes: Uint8Array): ModelMetadata {
  const reader = new Reader(bytes);
  const metadata: ModelMetadata = { inputs: [], outputs: [] };
  while (reader.next()) {
    if (reader.field === 4) metadata.inputs.push(readTensor(reader.message()));
    else if (reader.field === 5) metadata.outputs.push(readTensor(reader.message()));
    else reader.skip();
  }
  return metadata;
}

function readTensor(reader: Reader): TensorSpec {
  const spec: TensorSpec = { name: '', datatype: 'BYTES', dims: [] };
  while (reader.next()) {
    if (reader.field === 1) spec.name = reader.string();
    else if (reader.field === 2) spec.datatype = knownDatatype(reader.string(), spec.name);
    else if (reader.field === 3) reader.repeated(spec.dims, (inner) => inner.number());
    else reader.skip();
  }
  return spec;
}

/** What of Triton's ModelConfig metadata does not tell. */
export interface RemoteConfig {
  maxBatchSize: number;
  decoupled: boolean;
  /** Names of inputs that a request may leave out. */
  optional: string[];
}

/** A ModelConfigResponse. */
export function decodeConfig(bytes: Uint8Array): RemoteConfig {
  const response = new Reader(bytes);
  const config: RemoteConfig = { maxBatchSize: 0, decoupled: false, optional: [] };
  while (response.next()) {
    if (response.field === 1) readConfig(response.message(), config);
    else response.skip();
  }
  return config;
}

function readConfig(reader: Reader, config: RemoteConfig): void {
  while (reader.next()) {
    switch (reader.field) {
      case 4:
        config.maxBatchSize = reader.number();
        break;
      case 5:
        readInput(reader.message(), config);
        break;
      case 19:
        config.decoupled = decodeReady(reader.bytes());
        break;
      default:
        reader.skip();
    }
  }
}

function readInput(reader: Reader, config: RemoteConfig): void {
  let name = '';
  let optional = false;
  while (reader.next()) {
    if (reader.field === 1) name = reader.string();
    else if (reader.field === 8) optional = reader.number() !== 0;
    else reader.skip();
  }
  if (optional) config.optional.push(name);
}

export interface IndexEntry {
  name: string;
  version: string;
  state: string;
}

export function decodeIndex(bytes: Uint8Array): IndexEntry[] {
  const reader = new Reader(bytes);
  const entries: IndexEntry[] = [];
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    const model = reader.message();
    const entry: IndexEntry = { name: '', version: '', state: '' };
    while (model.next()) {
      if (model.field === 1) entry.name = model.string();
      else if (model.field === 2) entry.version = model.string();
      else if (model.field === 3) entry.state = model.string();
      else model.skip();
    }
    entries.push(entry);
  }
  return entries;
}
