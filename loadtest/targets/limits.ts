import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { v2Binary, v2Json } from '../payloads.ts';
import type { Target, Workload } from './target.ts';

const limitScript = (name: string): string => join(import.meta.dirname, '..', 'limits', name);

/** Bare uWebSockets.js answering the same POST with a constant of the size Switchyard's answer has. */
export function bareUws(wire: 'json' | 'binary'): Target {
  const answerFile = (workload: Workload): string => join(workload.scratch, `constant-answer.${wire}`);
  const header = (workload: Workload): string =>
    JSON.stringify({
      model_name: workload.model,
      model_version: '1',
      outputs: [
        {
          name: 'y',
          datatype: 'FP32',
          shape: [1, workload.expected.length],
          ...(wire === 'json'
            ? { data: workload.expected }
            : { parameters: { binary_data_size: workload.expected.length * 4 } }),
        },
      ],
    });
  return {
    name: 'bare-uws',
    role: 'limit',
    wires: [wire],
    idle: 'run',
    computes: false,
    readyPath: '/',
    async prepare(workload) {
      const tail = wire === 'binary' ? new Uint8Array(Float32Array.from(workload.expected).buffer) : new Uint8Array();
      writeFileSync(answerFile(workload), Buffer.concat([Buffer.from(header(workload)), tail]));
    },
    launch: (workload, ports) => ({
      command: process.execPath,
      args: [
        limitScript('bare-uws.mjs'),
        String(ports.http),
        answerFile(workload),
        ...(wire === 'json'
          ? ['application/json']
          : ['application/octet-stream', String(Buffer.byteLength(header(workload)))]),
      ],
    }),
    request: (_wire, workload) =>
      wire === 'json' ? v2Json(workload.model, workload.row) : v2Binary(workload.model, workload.row),
    output: () => [],
  };
}

/** An empty unary handler of @grpc/grpc-js. */
export function emptyGrpc(): Target {
  return {
    name: 'empty-grpc-js',
    role: 'limit',
    wires: ['grpc'],
    idle: 'run',
    computes: false,
    readyPath: undefined,
    async prepare() {},
    launch: (_workload, ports) => ({
      command: process.execPath,
      args: [limitScript('empty-grpc.mjs'), String(ports.grpc)],
    }),
    request: (_wire, workload) => v2Json(workload.model, workload.row),
    output: () => [],
  };
}

export interface BatchFigure {
  batch: number;
  rowsPerSecond: number;
  medianMs: number;
}

/** Arguments of the in-process ONNX Runtime limit for `node`. */
export function inProcessArgs(workload: Workload, secondsPerSize: number, sizes: readonly number[]): string[] {
  const width = String(workload.mlp.layers[0]);
  return [limitScript('inprocess-ort.mjs'), workload.onnxFile, width, String(secondsPerSize), sizes.join(',')];
}

/** Arguments of in-process inference under an open load for `node`. */
export function inProcessOpenArgs(workload: Workload, seconds: number, requestsPerSecond: number): string[] {
  const [width, batch] = [workload.mlp.layers[0], workload.maxBatchSize].map(String);
  return [
    limitScript('inprocess-open.mjs'),
    workload.onnxFile,
    width,
    String(seconds),
    String(requestsPerSecond),
    batch,
  ];
}

/** The same as `inProcessArgs` of a model staged on GPU 0. `provider`: as models.cuda.providerLibrary. */
export function inProcessCudaArgs(provider: string): typeof inProcessArgs {
  return ({ mlp, onnxFile }, secondsPerSize, sizes) => {
    const [width, outputs] = [mlp.layers[0], mlp.layers[mlp.layers.length - 1]].map(String);
    return [
      limitScript('inprocess-cuda.mjs'),
      onnxFile,
      width,
      outputs,
      provider,
      String(secondsPerSize),
      sizes.join(','),
    ];
  };
}
