// The limit of a GPU: the addon's staged model alone in a process, the same batch again and again, as many at once as it has
// slots. Needs a GPU, its CUDA provider and the built gateway.
//   node inprocess-cuda.mjs <model.onnx> <width> <outputs> <provider or ''> <seconds per batch size> <batch size,…>
// Prints {"results": [{"batch", "rowsPerSecond", "medianMs"}]}.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { sources } from './sources.mjs';

const [path, width, outputs, provider, seconds, sizes] = process.argv.slice(2);
const batches = sizes.split(',').map(Number);
const { carriedRuntime, findCudaProvider, linkProvider, OnnxBackend } = await sources(
  'backends/onnx/cuda-provider',
  'backends/onnx/backend',
);

const links = mkdtempSync(join(tmpdir(), 'switchyard-cuda-'));
process.once('exit', () => rmSync(links, { recursive: true, force: true }));
const runtime = carriedRuntime();
process.env.SWITCHYARD_ONNX_LIBRARY = linkProvider(findCudaProvider(provider, runtime), runtime, links);

const tensor = (name, dim) => ({ name, datatype: 'FP32', dims: [Number(dim)] });
const config = {
  parameters: {},
  raw: { default_model_filename: basename(path), optimization: { cuda: { graphs: true } } },
  signature: { inputs: [tensor('x', width)], outputs: [tensor('y', outputs)], maxBatchSize: Math.max(...batches) },
  instanceGroups: [{ kind: 'gpu', count: 1, gpus: [0] }],
  batching: { allowedBatchSizes: batches },
  decoupled: false,
};
const spec = { model: 'm', version: '1', config, directory: dirname(path), modelDirectory: dirname(path), device: 0 };
const model = await new OnnxBackend('native').load(spec);
const results = [];
for (const batch of batches) {
  const values = Float32Array.from({ length: batch * Number(width) }, (_, i) => ((i * 37) % 200) / 100 - 1);
  const input = { name: 'x', datatype: 'FP32', shape: [batch, Number(width)], data: new Uint8Array(values.buffer) };
  const times = [];
  const stream = async (until) => {
    while (performance.now() < until) {
      const start = performance.now();
      await model.execute([input], { outputs: [], deadline: Number.POSITIVE_INFINITY });
      times.push(performance.now() - start);
    }
  };
  const streams = (length) => {
    const until = performance.now() + length * 1000;
    return Promise.all(Array.from({ length: model.concurrency }, () => stream(until)));
  };
  await streams(Math.min(0.3, Number(seconds)));
  times.length = 0;
  const start = performance.now();
  await streams(Number(seconds));
  const rowsPerSecond = (times.length * batch * 1000) / (performance.now() - start);
  times.sort((a, b) => a - b);
  results.push({ batch, rowsPerSecond, medianMs: times[times.length >> 1] });
}
await model.unload();
console.log(JSON.stringify({ results }));
