// In-process inference under an open load: onnxruntime-node alone in a process, requests due at a constant rate. Whatever is due
// makes the next batch, as a batcher without a socket would.
//   node inprocess-open.mjs <model.onnx> <width> <seconds> <requests per second> <largest batch>
// Prints {"requests", "seconds", "latency": {"p50", "p90", "p99", "p999", "max"}}, milliseconds from when a request was due to
// when its batch's run had ended.
import ort from 'onnxruntime-node';

const [path, ...numbers] = process.argv.slice(2);
const [width, seconds, rate, largest] = numbers.map(Number);
const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1, interOpNumThreads: 1 });
const row = Float32Array.from({ length: width }, (_, i) => ((i * 37) % 200) / 100 - 1);

async function run(rows) {
  const data = new Float32Array(rows * width);
  for (let i = 0; i < rows; i++) data.set(row, i * width);
  await session.run({ x: new ort.Tensor('float32', data, [rows, width]) });
}

async function load(forSeconds) {
  const latencies = [];
  const start = performance.now();
  const dueAt = (i) => start + (i * 1000) / rate;
  const total = Math.floor(rate * forSeconds);
  let answered = 0;
  while (answered < total) {
    const due = Math.min(total, Math.floor(((performance.now() - start) * rate) / 1000) + 1) - answered;
    if (due <= 0) {
      await new Promise((resolve) => setImmediate(resolve));
      continue;
    }
    const rows = Math.min(due, largest);
    await run(rows);
    const end = performance.now();
    for (let i = 0; i < rows; i++) latencies.push(end - dueAt(answered + i));
    answered += rows;
  }
  return { latencies: latencies.sort((a, b) => a - b), seconds: (performance.now() - start) / 1000 };
}

await load(Math.min(2, seconds));
const { latencies, seconds: took } = await load(seconds);
const at = (share) => latencies[Math.min(latencies.length - 1, Math.floor(share * latencies.length))];
const latency = { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1) };
console.log(JSON.stringify({ requests: latencies.length, seconds: took, latency }));
