// The addon's JSON codecs beside their TypeScript twins and beside JSON.parse and JSON.stringify: bodies of 16, 784 and
// 150,000 floats, read as a v2 request and printed as a v2 answer.
//   npm run build && node loadtest/limits/codecs.mjs [rounds] [seconds per size]
// Each round starts one process per way, by turns. Prints JSON: medians over the rounds of CPU µs per body, of the 99th
// percentile of a call in ms (so long the event loop stands still; of a large answer, which the gateway prints in slices, of a
// slice; of a large request, which it decodes beside the loop, of the longest turn meanwhile), and the other ways' CPU as
// multiples of the addon's, with the least and the greatest of the rounds.
import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { sources } from './sources.mjs';

const SIZES = [16, 784, 150_000];

/** One way in this process: per size [decode, encode], each with CPU µs per body and milliseconds a call. */
async function measure(way, seconds) {
  const { decodeInferRequest, decodeAside, isForAside, encodeInferResponse, encodeInSlices, needsSlices } = await sources(
    'protocol/v2/infer-decoder',
    'protocol/v2/aside-decoder',
    'protocol/json/aside',
    'protocol/v2/json-writer',
  );
  const results = [];
  for (const size of SIZES) {
    // Digits as clients send them: float32 printed as float64.
    const values = Float32Array.from({ length: size }, (_, i) => Math.sin(i + 1) * 3);
    const shape = [1, size];
    const text = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape, data: [...values] }] });
    const body = new TextEncoder().encode(text);
    const output = { name: 'y', datatype: 'FP32', shape, data: new Uint8Array(values.buffer) };
    const response = { model: 'm', version: '1', id: '', outputs: [output], parameters: undefined, timings: undefined };
    const request = decodeInferRequest('m', '', body, -1);
    const [decode, encode] =
      way === 'plain'
        ? [() => parsePlainly(body), () => printPlainly(output)]
        : [
            isForAside(body.length, -1)
              ? () => new Promise((onDecoded, onRefused) => decodeAside('m', '', body, -1, { wanted, onDecoded, onRefused }))
              : () => decodeInferRequest('m', '', body, -1),
            needsSlices(response, request)
              ? () => encodeInSlices(response, request)
              : () => encodeInferResponse(response, request),
          ];
    results.push([await timed(decode, seconds), await timed(encode, seconds)]);
  }
  return results;
}

const wanted = () => true;

/** Without validation, and with the digits of doubles: the least that a server of this kind does. */
function parsePlainly(body) {
  const { inputs } = JSON.parse(new TextDecoder().decode(body));
  return inputs.map(({ data }) => Float32Array.from(data));
}

function printPlainly({ name, datatype, shape, data }) {
  const values = Array.from(new Float32Array(data.buffer));
  return new TextEncoder().encode(JSON.stringify({ outputs: [{ name, datatype, shape, data: values }] }));
}

/** What `call` returns may be the slices of its work, or a promise of what is worked out beside the loop. */
async function timed(call, seconds) {
  const finish = async (work) => {
    if (work instanceof Promise) await work;
    while (typeof work?.next === 'function' && !work.next().done);
  };
  for (const end = performance.now() + 300; performance.now() < end; ) await finish(call());
  const before = process.cpuUsage();
  const begun = performance.now();
  let calls = 0;
  const times = [];
  for (let now = begun; now - begun < seconds * 1000; ) {
    const work = call();
    if (work instanceof Promise) {
      await work;
      now = performance.now();
    }
    let last = typeof work?.next !== 'function';
    do {
      last ||= work.next().done;
      const after = performance.now();
      times.push(after - now);
      now = after;
    } while (!last);
    calls++;
  }
  const { user, system } = process.cpuUsage(before);
  const cpuMicros = (user + system) / calls;
  if (call() instanceof Promise) times.splice(0, times.length, ...(await longestTurns(call, seconds)));
  // The greatest of all is the machine's: another process had the core.
  times.sort((a, b) => a - b);
  return { cpuMicros, p99Ms: times[Math.floor(times.length * 0.99)] };
}

/** Of each call, how long the longest turn of the loop took from its begin to its end. The loop never sleeps meanwhile. */
async function longestTurns(call, seconds) {
  const longest = [];
  for (const end = performance.now() + seconds * 1000; performance.now() < end; ) {
    let going = true;
    let most = 0;
    let last = performance.now();
    call().then(() => {
      going = false;
    });
    while (going) {
      await new Promise(setImmediate);
      const now = performance.now();
      most = Math.max(most, now - last);
      last = now;
    }
    longest.push(most);
  }
  return longest;
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

if (process.argv[2] === 'one') {
  console.log(JSON.stringify(await measure(process.argv[3], Number(process.argv[4]))));
} else {
  const rounds = Number(process.argv[2] ?? 5);
  const seconds = process.argv[3] ?? '1';
  const ways = ['addon', 'twin', 'plain'];
  const raw = { addon: [], twin: [], plain: [] };
  for (let round = 0; round < rounds; round++) {
    for (let k = 0; k < ways.length; k++) {
      const way = ways[(k + round) % ways.length];
      const env = { ...process.env, SWITCHYARD_NATIVE: way === 'addon' ? 'on' : 'off' };
      const run = spawnSync(process.execPath, [import.meta.filename, 'one', way, seconds], { encoding: 'utf8', env });
      if (run.status !== 0) throw new Error(run.stderr);
      raw[way].push(JSON.parse(run.stdout));
    }
  }
  const figures = SIZES.flatMap((floats, s) =>
    ['decode', 'encode'].map((what, w) => {
      const of = (way, field) => raw[way].map((round) => round[s][w][field]);
      const times = (way) => {
        const ratios = of(way, 'cpuMicros').map((cpu, i) => cpu / raw.addon[i][s][w].cpuMicros);
        return { median: median(ratios), least: Math.min(...ratios), greatest: Math.max(...ratios) };
      };
      const medians = Object.fromEntries(
        ways.map((way) => [way, { cpuMicros: median(of(way, 'cpuMicros')), p99Ms: median(of(way, 'p99Ms')) }]),
      );
      return { floats, what, twinToAddon: times('twin'), plainToAddon: times('plain'), ...medians };
    }),
  );
  const machine = { node: process.version, cpu: cpus()[0].model, cpus: cpus().length };
  console.log(JSON.stringify({ machine, rounds, seconds: Number(seconds), figures, raw }));
}
