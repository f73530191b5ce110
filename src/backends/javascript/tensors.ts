import type { TensorSpec } from '../../config/model-config.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { type DataType, ELEMENT_BYTES, elementCount, type Tensor } from '../../tensor/tensor.ts';

export type NumericArray =
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Float32Array
  | Float64Array;

/** A tensor as a user's module sees it. */
export interface ScriptInput {
  datatype: DataType;
  shape: number[];
  /** BOOL as 0 and 1; FP16 and BF16 as their 16 bits; BYTES as one Buffer per element, so that `String(b)` is its text. */
  data: NumericArray | Buffer[];
}

/** What a user's module gives back for one output. */
export interface ScriptOutput {
  /** Absent: the declared one. */
  datatype?: DataType;
  shape: number[];
  data: NumericArray | readonly (string | Uint8Array)[];
}

const ARRAY_TYPES = {
  BOOL: Uint8Array,
  UINT8: Uint8Array,
  UINT16: Uint16Array,
  UINT32: Uint32Array,
  UINT64: BigUint64Array,
  INT8: Int8Array,
  INT16: Int16Array,
  INT32: Int32Array,
  INT64: BigInt64Array,
  FP16: Uint16Array,
  BF16: Uint16Array,
  FP32: Float32Array,
  FP64: Float64Array,
} as const;

/** Views of the tensors' bytes under their names. The module may use them until it answers, and may change them. */
export function toScriptInputs(inputs: readonly Tensor[]): Record<string, ScriptInput> {
  const record: Record<string, ScriptInput> = Object.create(null);
  for (const { name, datatype, shape, data } of inputs) {
    record[name] = { datatype, shape, data: datatype === 'BYTES' ? splitElements(data) : typedView(datatype, data) };
  }
  return record;
}

function typedView(datatype: Exclude<DataType, 'BYTES'>, data: Uint8Array): NumericArray {
  const width = ELEMENT_BYTES[datatype];
  const aligned = data.byteOffset % width === 0 ? data : new Uint8Array(data);
  return new ARRAY_TYPES[datatype](aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.length / width);
}

function splitElements(data: Uint8Array): Buffer[] {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.length);
  const elements: Buffer[] = [];
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = at + 4 + bytes.readUInt32LE(at);
    elements.push(bytes.subarray(at + 4, end));
    at = end;
  }
  return elements;
}

/**
 * Checks what the module answered against the declared outputs and turns it into tensors. `specs`: declared outputs,
 * batch dimension included; `requested`: names wanted, empty = all. Arrays are copied: a module may answer with its
 * inputs' memory or with an array it keeps, and neither can be given away. Throws internal, naming the output, what
 * was found and what was expected.
 */
export function fromScriptOutputs(
  answer: unknown,
  specs: readonly TensorSpec[],
  requested: readonly string[],
  label: string,
): Tensor[] {
  if (typeof answer !== 'object' || answer === null || Array.isArray(answer)) {
    throw wrong(label, `answered ${describe(answer)}; expected an object of outputs: { name: { shape, data } }`);
  }
  const record = answer as Record<string, unknown>;
  for (const name of Object.keys(record)) {
    if (!specs.some((spec) => spec.name === name)) {
      throw wrong(label, `answered output "${name}", which is not declared; declared: ${names(specs)}`);
    }
  }
  const tensors: Tensor[] = [];
  for (const spec of specs) {
    if (requested.length > 0 && !requested.includes(spec.name)) continue;
    const output = Object.hasOwn(record, spec.name) ? record[spec.name] : undefined;
    if (output === undefined) throw wrong(label, `answered no output "${spec.name}"`);
    tensors.push(toTensor(output, spec, `${label} output "${spec.name}"`));
  }
  return tensors;
}

function toTensor(output: unknown, spec: TensorSpec, label: string): Tensor {
  if (typeof output !== 'object' || output === null) {
    throw wrong(label, `is ${describe(output)}; expected { shape, data }`);
  }
  const { datatype = spec.datatype, shape, data } = output as Partial<ScriptOutput>;
  if (datatype !== spec.datatype) throw wrong(label, `is ${String(datatype)}; declared is ${spec.datatype}`);
  const count = Array.isArray(shape) ? elementCount(shape) : -1;
  if (count < 0) throw wrong(label, `has shape ${describe(shape)}; expected an array of dims ≥ 0`);
  const dims = shape as number[];
  if (dims.length !== spec.dims.length || dims.some((dim, i) => spec.dims[i] !== -1 && spec.dims[i] !== dim)) {
    throw wrong(label, `has shape [${dims}]; declared is [${spec.dims}] (-1: any length)`);
  }
  const bytes = spec.datatype === 'BYTES' ? joinElements(data, label) : numericBytes(data, spec.datatype, label);
  const length = (data as { length: number }).length;
  if (length !== count) throw wrong(label, `has ${length} elements; its shape [${dims}] needs ${count}`);
  return { name: spec.name, datatype: spec.datatype, shape: [...dims], data: bytes };
}

function numericBytes(data: unknown, datatype: Exclude<DataType, 'BYTES'>, label: string): Uint8Array {
  const expected = ARRAY_TYPES[datatype];
  if (!(data instanceof expected)) {
    throw wrong(label, `has data of type ${describe(data)}; ${datatype} is given as ${expected.name}`);
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength).slice();
}

function joinElements(data: unknown, label: string): Uint8Array {
  if (!Array.isArray(data)) {
    throw wrong(label, `has data of type ${describe(data)}; BYTES is given as an array of string or Uint8Array`);
  }
  const elements = data.map((element: unknown, i) => {
    if (typeof element === 'string') return Buffer.from(element, 'utf8');
    if (element instanceof Uint8Array) return element;
    throw wrong(label, `has ${describe(element)} as element ${i}; BYTES elements are string or Uint8Array`);
  });
  const joined = Buffer.alloc(elements.reduce((sum, element) => sum + 4 + element.length, 0));
  let at = 0;
  for (const element of elements) {
    at = joined.writeUInt32LE(element.length, at);
    joined.set(element, at);
    at += element.length;
  }
  return new Uint8Array(joined.buffer, joined.byteOffset, joined.length);
}

function names(specs: readonly TensorSpec[]): string {
  return specs.map((spec) => `"${spec.name}"`).join(', ') || 'none';
}

function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value !== 'object') return typeof value;
  return value.constructor?.name ?? 'object';
}

function wrong(label: string, what: string): SwitchyardError {
  return new SwitchyardError('internal', `${label} ${what}`);
}
