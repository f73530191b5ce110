import type { TensorSpec } from '../../config/model-config.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { RuntimeSignature } from '../backend.ts';
import { Reader, Writer } from '../remote/protobuf.ts';
import { datatypeOf, decodeTensor, encodeTensor, readShape } from './tensor-codec.ts';

/** Which model, version and signature of a TensorFlow Serving server. */
export interface ModelSpec {
  name: string;
  /** '' = latest, or `label`. */
  version: string;
  label: string;
  signature: string;
}

/** ModelVersionStatus.State AVAILABLE. */
const AVAILABLE = 30;

function modelSpec(spec: ModelSpec): Writer {
  const writer = new Writer().string(1, spec.name);
  if (spec.version !== '') writer.message(2, new Writer().varint(1, BigInt(spec.version)));
  if (spec.signature !== '') writer.string(3, spec.signature);
  if (spec.label !== '') writer.string(4, spec.label);
  return writer;
}

/** A PredictRequest. `outputs` empty: all of them. */
export function encodePredict(spec: ModelSpec, inputs: readonly Tensor[], outputs: readonly string[]): Buffer {
  const request = new Writer().message(1, modelSpec(spec));
  for (const input of inputs) request.message(2, new Writer().string(1, input.name).message(2, encodeTensor(input)));
  for (const output of outputs) request.string(3, output);
  return request.finish();
}

/** A PredictResponse's outputs, sorted by name: a protobuf map has no order. */
export function decodePredict(bytes: Uint8Array): Tensor[] {
  const reader = new Reader(bytes);
  const outputs: Tensor[] = [];
  while (reader.next()) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    const entry = readEntry(reader.message());
    outputs.push(decodeTensor(entry.key, new Reader(entry.value)));
  }
  return outputs.sort(byName);
}

/** A GetModelMetadataRequest for the signatures. */
export function encodeMetadataRequest(spec: ModelSpec): Buffer {
  return new Writer()
    .message(1, modelSpec({ ...spec, signature: '' }))
    .string(2, 'signature_def')
    .finish();
}

/**
 * The signature named `name` of a GetModelMetadataResponse; inputs and outputs sorted by name.
 * @throws SwitchyardError failed_precondition naming the signatures there are
 */
export function decodeSignature(bytes: Uint8Array, name: string): RuntimeSignature {
  const response = new Reader(bytes);
  const signatures = new Map<string, Buffer>();
  while (response.next()) {
    if (response.field !== 2) {
      response.skip();
      continue;
    }
    const metadata = readEntry(response.message());
    if (metadata.key !== 'signature_def') continue;
    const any = new Reader(metadata.value);
    while (any.next()) {
      if (any.field === 2) readMap(any.message(), 1, signatures);
      else any.skip();
    }
  }
  const definition = signatures.get(name);
  if (definition === undefined) {
    throw new SwitchyardError(
      'failed_precondition',
      `the remote model has no signature "${name}"; it has ${[...signatures.keys()].join(', ') || 'none'}. Set the parameter "signature_name"`,
    );
  }
  const inputs = new Map<string, Buffer>();
  const outputs = new Map<string, Buffer>();
  readMap(new Reader(definition), 1, inputs);
  readMap(new Reader(definition), 2, outputs);
  return { inputs: specs(inputs), outputs: specs(outputs) };
}

/** A GetModelStatusRequest. */
export function encodeStatusRequest(spec: ModelSpec): Buffer {
  return new Writer().message(1, modelSpec({ ...spec, signature: '' })).finish();
}

/** True when a GetModelStatusResponse shows a version that serves. */
export function decodeAvailable(bytes: Uint8Array): boolean {
  const response = new Reader(bytes);
  let available = false;
  while (response.next()) {
    if (response.field !== 1) {
      response.skip();
      continue;
    }
    const status = response.message();
    while (status.next()) {
      if (status.field === 2) available = status.number() === AVAILABLE || available;
      else status.skip();
    }
  }
  return available;
}

function specs(infos: Map<string, Buffer>): TensorSpec[] {
  const list: TensorSpec[] = [];
  for (const [name, bytes] of infos) {
    const spec: TensorSpec = { name, datatype: 'FP32', dims: [] };
    const info = new Reader(bytes);
    while (info.next()) {
      if (info.field === 2) spec.datatype = datatypeOf(info.number(), `tensor "${name}"`);
      else if (info.field === 3) readShape(info.message(), spec.dims);
      else info.skip();
    }
    list.push(spec);
  }
  return list.sort(byName);
}

/** Entries of the map in field `field`. */
function readMap(reader: Reader, field: number, into: Map<string, Buffer>): void {
  while (reader.next()) {
    if (reader.field !== field) {
      reader.skip();
      continue;
    }
    const { key, value } = readEntry(reader.message());
    into.set(key, value);
  }
}

function readEntry(entry: Reader): { key: string; value: Buffer } {
  let key = '';
  let value = Buffer.alloc(0);
  while (entry.next()) {
    if (entry.field === 1) key = entry.string();
    else if (entry.field === 2) value = entry.bytes() as Buffer<ArrayBuffer>;
    else entry.skip();
  }
  return { key, value };
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}
