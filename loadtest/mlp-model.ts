import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Writer } from 'protobufjs';
import { mulberry32 } from './statistics.ts';

/** A multi-layer perceptron with fixed random weights: input `x` FP32[n, first], ReLU between layers, output `y` FP32[n, last]. */
export interface Mlp {
  name: string;
  layers: readonly number[];
}

export const SMALL_MLP: Mlp = { name: 'small', layers: [16, 64, 64, 4] };
export const MID_MLP: Mlp = { name: 'mid', layers: [784, 2048, 2048, 10] };

const ONNX_FLOAT = 1;
const MODEL = { irVersion: 1, producer: 2, graph: 7, opset: 8 };
const GRAPH = { node: 1, name: 2, initializer: 5, input: 11, output: 12 };
const NODE = { input: 1, output: 2, name: 3, op: 4 };
const TENSOR = { dims: 1, dataType: 2, name: 8, raw: 9 };

const tag = (field: number, wire: 0 | 2): number => (field << 3) | wire;

/** The model as an ONNX file (opset 17, batch dimension dynamic). The same layers give the same bytes on every machine. */
export function mlpOnnx(mlp: Mlp): Uint8Array {
  const writer = new Writer();
  writer.uint32(tag(MODEL.irVersion, 0)).int32(8);
  writer.uint32(tag(MODEL.producer, 2)).string('switchyard-loadtest');
  writer.uint32(tag(MODEL.graph, 2)).fork();
  const random = mulberry32(mlp.layers.reduce((a, b) => a * 31 + b, 7));
  const last = mlp.layers.length - 2;
  for (let i = 0; i <= last; i++) {
    const sum = i === last ? 'y' : `sum${i}`;
    writeNode(writer, 'Gemm', [i === 0 ? 'x' : `relu${i - 1}`, `w${i}`, `b${i}`], sum);
    if (i < last) writeNode(writer, 'Relu', [sum], `relu${i}`);
  }
  writer.uint32(tag(GRAPH.name, 2)).string(mlp.name);
  for (let i = 0; i <= last; i++) {
    const [rows, columns] = [mlp.layers[i], mlp.layers[i + 1]];
    // Variance 2 / rows keeps activations of the same size through any number of layers.
    const spread = Math.sqrt(6 / rows);
    writeInitializer(writer, `w${i}`, [rows, columns], () => (random() * 2 - 1) * spread);
    writeInitializer(writer, `b${i}`, [columns], () => (random() - 0.5) * 0.1);
  }
  writeValueInfo(writer, GRAPH.input, 'x', mlp.layers[0]);
  writeValueInfo(writer, GRAPH.output, 'y', mlp.layers[mlp.layers.length - 1]);
  writer.ldelim();
  writer.uint32(tag(MODEL.opset, 2)).fork().uint32(tag(2, 0)).int64(17).ldelim();
  return writer.finish();
}

function writeNode(writer: Writer, op: string, inputs: string[], output: string): void {
  writer.uint32(tag(GRAPH.node, 2)).fork();
  for (const input of inputs) writer.uint32(tag(NODE.input, 2)).string(input);
  writer.uint32(tag(NODE.output, 2)).string(output);
  writer.uint32(tag(NODE.name, 2)).string(`make_${output}`);
  writer.uint32(tag(NODE.op, 2)).string(op).ldelim();
}

function writeInitializer(writer: Writer, name: string, dims: number[], next: () => number): void {
  const values = Float32Array.from({ length: dims.reduce((a, b) => a * b) }, next);
  writer.uint32(tag(GRAPH.initializer, 2)).fork();
  for (const dim of dims) writer.uint32(tag(TENSOR.dims, 0)).int64(dim);
  writer.uint32(tag(TENSOR.dataType, 0)).int32(ONNX_FLOAT);
  writer.uint32(tag(TENSOR.name, 2)).string(name);
  writer.uint32(tag(TENSOR.raw, 2)).bytes(new Uint8Array(values.buffer)).ldelim();
}

/** ValueInfoProto{name, type{tensor_type{elem_type, shape{dim{dim_param}, dim{dim_value}}}}} */
function writeValueInfo(writer: Writer, field: number, name: string, width: number): void {
  writer.uint32(tag(field, 2)).fork().uint32(tag(1, 2)).string(name);
  writer.uint32(tag(2, 2)).fork().uint32(tag(1, 2)).fork();
  writer.uint32(tag(1, 0)).int32(ONNX_FLOAT);
  writer.uint32(tag(2, 2)).fork();
  writer.uint32(tag(1, 2)).fork().uint32(tag(2, 2)).string('batch').ldelim();
  writer.uint32(tag(1, 2)).fork().uint32(tag(1, 0)).int64(width).ldelim();
  writer.ldelim().ldelim().ldelim().ldelim();
}

/** One row of input: fixed, different in every element, short in decimal so that JSON bodies are of ordinary size. */
export function inputRow(mlp: Mlp): Float32Array {
  const random = mulberry32(mlp.layers[0]);
  return Float32Array.from({ length: mlp.layers[0] }, () => Math.round((random() * 2 - 1) * 1000) / 1000);
}

export interface RepositoryOptions {
  /** 0: the model takes single requests only, unbatched. */
  maxBatchSize: number;
  /** Names of the copies. */
  names: readonly string[];
  /** 'gpu': GPU 0. */
  device?: 'cpu' | 'gpu';
  /** Extra lines of config.pbtxt. */
  extra?: string;
}

/** Writes `<folder>/<name>/1/model.onnx` with a config.pbtxt for each name. */
export function writeOnnxRepository(folder: string, mlp: Mlp, options: RepositoryOptions): void {
  const bytes = mlpOnnx(mlp);
  const batching = options.maxBatchSize > 1 ? 'dynamic_batching { }\n' : '';
  const dims = (width: number): string => (options.maxBatchSize > 0 ? `[ ${width} ]` : `[ -1, ${width} ]`);
  for (const name of options.names) {
    mkdirSync(join(folder, name, '1'), { recursive: true });
    writeFileSync(join(folder, name, '1', 'model.onnx'), bytes);
    const config = [
      `name: "${name}"`,
      'backend: "onnxruntime"',
      `max_batch_size: ${options.maxBatchSize}`,
      `input [ { name: "x" data_type: TYPE_FP32 dims: ${dims(mlp.layers[0])} } ]`,
      `output [ { name: "y" data_type: TYPE_FP32 dims: ${dims(mlp.layers[mlp.layers.length - 1])} } ]`,
      `instance_group [ { ${options.device === 'gpu' ? 'kind: KIND_GPU gpus: [ 0 ]' : 'kind: KIND_CPU'} count: 1 } ]`,
      'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }',
    ];
    writeFileSync(join(folder, name, 'config.pbtxt'), `${config.join('\n')}\n${batching}${options.extra ?? ''}`);
  }
}
