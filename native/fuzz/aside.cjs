// Makes the threads that work beside JavaScript's meet it, for the thread sanitizer:  node aside.cjs ADDON LIBONNXRUNTIME VERSION
// Bodies are decoded and lent, and sessions loaded, on the main thread and on workers, of which some end amid all that.
const { isMainThread, Worker, workerData } = require('node:worker_threads');

const [addonFile, library, version] = isMainThread ? process.argv.slice(2) : workerData.files;
const addon = require(addonFile);
// As src/protocol/json/decoded-words.ts.
const WORDS = 2048;
const INPUTS = 1;
const data = Array.from({ length: 2000 }, (_, i) => i / 8);
const inputs = Array.from({ length: 10 }, (_, i) => `{"name":"x${i}","shape":[2000],"datatype":"FP32","data":[${data}]}`);
const body = Buffer.from(`{"inputs":[${inputs}]}`);

/** Resolves with the number of inputs, -1 where the body is refused. */
function decode(bytes) {
  return new Promise((resolve, reject) => {
    const job = {
      body: bytes,
      expected: new Uint8Array(0),
      slab: new Uint8Array(16384),
      words: new Int32Array(WORDS),
      buffers: [],
      done: () => resolve(job.words[INPUTS]),
    };
    job.words[INPUTS] = -1;
    if (!addon.decodeAside(job)) reject(new Error('there is no thread'));
  });
}

/** Of a file that is no model: what the thread does is the same. */
const load = (key) =>
  addon.ortLoadAside(key, __filename, Int32Array.of(1, 1, 99, 4, 0, 1, 1, 1), [], []).then(
    () => Promise.reject(new Error('it was loaded')),
    () => {},
  );

async function work(rounds) {
  for (let round = 0; round < rounds; round++) {
    const whole = round % 3 > 0;
    const loads = [load(`a${round}`), load('b')];
    const count = await decode(whole ? body : body.subarray(0, -5));
    if (count !== (whole ? inputs.length : -1)) throw new Error(`${count} inputs`);
    await Promise.all(loads);
  }
}

/** A worker that reads what is lent to it, and ends of itself, or in the middle of its work. */
function worker(amid) {
  const loan = addon.lend(body);
  return new Promise((resolve, reject) => {
    const it = new Worker(__filename, { workerData: { files: [addonFile, library, version], loan, amid } });
    it.on('error', reject);
    it.on('exit', () => {
      addon.takeBack(loan);
      resolve();
    });
  });
}

async function main() {
  const problem = addon.ortOpen(library, version, 1, 1);
  if (problem !== '') throw new Error(problem);
  if (!isMainThread) {
    const lent = addon.borrow(workerData.loan);
    if (!Buffer.from(lent).equals(body)) throw new Error('other bytes were lent');
    addon.giveBack(lent);
    if (workerData.amid) {
      void work(50);
      setImmediate(() => process.exit(0));
      return;
    }
    await work(10);
    return;
  }
  // Whoever never answers ends the process with this.
  process.exitCode = 1;
  await Promise.all([work(40), worker(false), worker(false), worker(true), worker(true)]);
  process.exitCode = 0;
}

void main();
