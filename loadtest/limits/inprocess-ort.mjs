// The limit of execution: onnxruntime-node alone in a process, the same batch again and again.
//   node inprocess-ort.mjs <model.onnx> <width> <seconds per batch size> <batch size,batch size,…>
// Prints {"results": [{"batch", "rowsPerSecond", "medianMs"}]}.
import ort from 'onnxruntime-node';

const [path, width, seconds, sizes] = process.argv.slice(2);
const session = await ort.InferenceSession.create(path, { intraOpNumThreads: 1, interOpNumThreads: 1 });
const results = [];
for (const batch of sizes.split(',').map(Number)) {
  const data = Float32Array.from({ length: batch * Number(width) }, (_, i) => ((i * 37) % 200) / 100 - 1);
  const x = new ort.Tensor('float32', data, [batch, Number(width)]);
  for (let i = 0; i < 5; i++) await session.run({ x });
  const times = [];
  const start = performance.now();
  let now = start;
  while (now - start < Number(seconds) * 1000) {
    await session.run({ x });
    const after = performance.now();
    times.push(after - now);
    now = after;
  }
  times.sort((a, b) => a - b);
  const rowsPerSecond = (times.length * batch * 1000) / (now - start);
  results.push({ batch, rowsPerSecond, medianMs: times[times.length >> 1] });
}
console.log(JSON.stringify({ results }));
