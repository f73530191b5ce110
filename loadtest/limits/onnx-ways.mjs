// The two ways into ONNX Runtime side by side: onnxruntime-node, and the addon's sessions that threads share.
//   npm run build && node --import tsx loadtest/limits/onnx-ways.mjs [rounds] [seconds per batch size]
// Each round starts one process per way and model, by turns. Its executors (worker threads) load the model; then the first
// of them runs batches, and then two of them at once. Prints JSON: memory with 1, 2 and 4 executors, and CPU µs of the
// process per batch (of both executors together where two run).
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { sources } from './sources.mjs';

const EXECUTORS = [1, 2, 4];
const BATCHES = [1, 8, 32];
const here = import.meta.filename;

/** Resident bytes as the kernel counts them, pages of mapped files left out: those are the libraries. */
const resident = () => Number(/RssAnon:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]) * 1024;

async function executor() {
  const { OnnxBackend } = await sources('backends/onnx/backend');
  const { way, folder, width } = workerData;
  const raw = {};
  const config = { parameters: {}, raw };
  const spec = { model: 'm', version: '1', config, directory: join(folder, '1'), modelDirectory: folder, device: -1 };
  const model = await new OnnxBackend(way).load(spec);
  const run = (batch) => {
    const values = Float32Array.from({ length: batch * width }, (_, i) => ((i * 37) % 200) / 100 - 1);
    const input = { name: 'x', datatype: 'FP32', shape: [batch, width], data: new Uint8Array(values.buffer) };
    return () => model.execute([input], { outputs: [], deadline: Number.POSITIVE_INFINITY });
  };
  for (const batch of BATCHES) run(batch)();
  parentPort.on('message', ({ batch, seconds }) => {
    const once = run(batch);
    for (let i = 0; i < 20; i++) once();
    const cpu = process.cpuUsage();
    const start = performance.now();
    let count = 0;
    while (performance.now() - start < seconds * 1000) {
      for (let i = 0; i < 10; i++) once();
      count += 10;
    }
    const { user, system } = process.cpuUsage(cpu);
    const wallMicros = ((performance.now() - start) * 1000) / count;
    parentPort.postMessage({ cpuMicros: (user + system) / count, wallMicros, count });
  });
  parentPort.postMessage('ready');
}

async function contestant([way, folder, width, seconds]) {
  const workers = [];
  const memory = {};
  const before = resident();
  for (const wanted of EXECUTORS) {
    while (workers.length < wanted) {
      const worker = new Worker(here, { workerData: { way, folder, width: Number(width) } });
      await once(worker, 'message');
      workers.push(worker);
    }
    memory[wanted] = resident() - before;
  }
  const batches = {};
  for (const batch of BATCHES) {
    workers[0].postMessage({ batch, seconds: Number(seconds) });
    [batches[batch]] = await once(workers[0], 'message');
  }
  const both = {};
  for (const batch of BATCHES) {
    const cpu = process.cpuUsage();
    const pair = workers.slice(0, 2);
    for (const worker of pair) worker.postMessage({ batch, seconds: Number(seconds) });
    const [[first], [second]] = await Promise.all(pair.map((worker) => once(worker, 'message')));
    const { user, system } = process.cpuUsage(cpu);
    both[batch] = { cpuMicros: (user + system) / (first.count + second.count + 40) };
  }
  console.log(JSON.stringify({ memory, batches, both }));
  process.exit(0);
}

async function main([rounds = '5', seconds = '1']) {
  const { MID_MLP, SMALL_MLP, writeOnnxRepository } = await import('../mlp-model.ts');
  const scratch = mkdtempSync(join(tmpdir(), 'switchyard-ways-'));
  const raw = [];
  for (const mlp of [SMALL_MLP, MID_MLP]) writeOnnxRepository(scratch, mlp, { maxBatchSize: 0, names: [mlp.name] });
  for (let round = 0; round < Number(rounds); round++) {
    for (const mlp of [SMALL_MLP, MID_MLP]) {
      for (const way of round % 2 === 0 ? ['node', 'native'] : ['native', 'node']) {
        const args = [here, 'contestant', way, join(scratch, mlp.name), String(mlp.layers[0]), seconds];
        const { stdout, stderr, status } = spawnSync(process.execPath, args, { encoding: 'utf8' });
        if (status !== 0) throw new Error(stderr);
        raw.push({ round, model: mlp.name, way, ...JSON.parse(stdout) });
      }
    }
  }
  rmSync(scratch, { recursive: true });
  const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];
  const ratios = {};
  for (const { name } of [SMALL_MLP, MID_MLP]) {
    const of = (way) => raw.filter((each) => each.model === name && each.way === way);
    const paired = (pick) => {
      const [ours, twin] = [of('native').map(pick), of('node').map(pick)];
      const ratio = median(ours.map((value, i) => value / twin[i]));
      return { native: median(ours), node: median(twin), ratio };
    };
    ratios[name] = {
      memoryBytes: Object.fromEntries(EXECUTORS.map((n) => [n, paired(({ memory }) => memory[n])])),
      cpuMicros: Object.fromEntries(BATCHES.map((n) => [n, paired(({ batches }) => batches[n].cpuMicros)])),
      cpuMicrosOfTwo: Object.fromEntries(BATCHES.map((n) => [n, paired(({ both }) => both[n].cpuMicros)])),
    };
  }
  console.log(JSON.stringify({ machine: cpus()[0].model, node: process.version, medians: ratios, raw }, undefined, 1));
}

if (!isMainThread) await executor();
else if (process.argv[2] === 'contestant') await contestant(process.argv.slice(3));
else await main(process.argv.slice(2));
