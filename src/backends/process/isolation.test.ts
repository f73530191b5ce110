import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Tensor } from '../../tensor/tensor.ts';
import { modelConfig } from '../../testing/load-spec.ts';
import type { ExecuteOptions } from '../backend.ts';
import { type CrashEvent, type IsolatedModel, ProcessBackend } from './backend.ts';
import { STREAM_WINDOW } from './protocol.ts';

const root = await mkdtemp(join(tmpdir(), 'switchyard-isolation-'));
const loaded: IsolatedModel[] = [];
after(async () => {
  await Promise.all(loaded.map((model) => model.unload()));
  await rm(root, { recursive: true });
});

/** A javascript model of INT32 x → y in a child process. */
async function isolate(
  name: string,
  source: string,
  over: { decoupled?: boolean; parameters?: Record<string, string> } = {},
  crashes: CrashEvent[] = [],
): Promise<IsolatedModel> {
  const directory = join(root, name, '1');
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'model.mjs'), source);
  const config = modelConfig(name, 'javascript', {
    signature: {
      inputs: [{ name: 'x', datatype: 'INT32', dims: [1] }],
      outputs: [{ name: 'y', datatype: 'INT32', dims: [1] }],
      maxBatchSize: 0,
    },
    ...over,
  });
  const spec = { model: name, version: '1', config, directory, modelDirectory: join(root, name), device: -1 };
  const model = await new ProcessBackend('javascript', (event) => crashes.push(event)).load(spec);
  loaded.push(model as IsolatedModel);
  return model as IsolatedModel;
}

const input = (value: number): Tensor[] => [
  { name: 'x', datatype: 'INT32', shape: [1], data: new Uint8Array(Int32Array.of(value).buffer) },
];
const options = (over: Partial<ExecuteOptions> = {}): ExecuteOptions => ({
  outputs: [],
  deadline: Number.POSITIVE_INFINITY,
  ...over,
});
const number = ([tensor]: Tensor[]): number => {
  assert.equal(tensor.data.byteLength, tensor.data.buffer.byteLength, 'the output owns its memory');
  return new Int32Array(tensor.data.buffer as ArrayBuffer)[0];
};
const y = "const y = (value) => ({ y: { datatype: 'INT32', shape: [1], data: Int32Array.of(value) } });\n";

async function collect(model: IsolatedModel, value: number, into: number[] = []): Promise<number[]> {
  for await (const outputs of model.executeStream!(input(value), options())) into.push(number(outputs));
  return into;
}

test('a decoupled model in a child answers as often as it likes; an error comes after what was sent before it', async () => {
  const model = await isolate(
    'count',
    `${y}export async function* executeStream({ x }) {
      for (let i = 0; i < x.data[0]; i++) yield y(i);
      if (x.data[0] === 3) throw Object.assign(new Error('three is refused'), { code: 'invalid_argument' });
    }`,
    { decoupled: true },
  );
  assert.deepEqual(await collect(model, 0), []);
  assert.deepEqual(await collect(model, 100), [...Array(100).keys()]);
  const before: number[] = [];
  await assert.rejects(collect(model, 3, before), { code: 'invalid_argument', message: /three is refused/ });
  assert.deepEqual(before, [0, 1, 2]);
  assert.deepEqual(await Promise.all([collect(model, 2), collect(model, 4)]), [
    [0, 1],
    [0, 1, 2, 3],
  ]);
});

test('a model without streams has none in a child either', async () => {
  const model = await isolate('plain', `${y}export const execute = () => y(1);`);
  assert.equal(model.executeStream, undefined);
});

test('a slow reader holds the stream up, which is no hang; the rest follows when it reads', async () => {
  const made = join(root, 'slow-reader', '1', 'made');
  const model = await isolate(
    'slow-reader',
    `import { writeFileSync } from 'node:fs';
    ${y}export async function* executeStream({ x }) {
      for (let i = 0; i < x.data[0]; i++) {
        writeFileSync(${JSON.stringify(made)}, String(i + 1));
        yield y(i);
      }
    }`,
    { decoupled: true, parameters: { 'switchyard.hang_timeout_ms': '2000' } },
  );
  const { pid } = model;
  const stream = model.executeStream!(input(200), options())[Symbol.asyncIterator]();
  assert.equal(number((await stream.next()).value), 0);
  // One was read, the window is full, and one is made and waits.
  const full = STREAM_WINDOW + 2;
  for (let i = 0; i < 6000 && Number(await readFile(made, 'utf8')) < full; i++) await sleep(10);
  await sleep(3000);
  assert.equal(Number(await readFile(made, 'utf8')), full);
  const rest: number[] = [];
  for (let next = await stream.next(); !next.done; next = await stream.next()) rest.push(number(next.value));
  assert.equal(rest.length, 199);
  assert.equal(model.pid, pid, 'the child was not taken for hung');
});

test('a stream that goes silent is a hang', async () => {
  const crashes: CrashEvent[] = [];
  // Long enough for its first answer on a busy machine.
  const parameters = { 'switchyard.hang_timeout_ms': '2000' };
  const source = `${y}export async function* executeStream() { yield y(1); await new Promise(() => {}); }`;
  const model = await isolate('silent', source, { decoupled: true, parameters }, crashes);
  const before: number[] = [];
  await assert.rejects(collect(model, 1, before), { code: 'unavailable', message: /hung for 2000 ms/ });
  assert.deepEqual(before, [1]);
  assert.equal(crashes.length, 1);
});

const STUBBORN = `import { writeFileSync } from 'node:fs';
${y}
let begun = 0;
let closed = 0;
export async function execute({ x }, { signal, remainingMs }) {
  begun++;
  if (x.data[0] === 0) {
    writeFileSync(new URL('begun', import.meta.url), '');
    await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('told to stop'))));
  }
  if (x.data[0] === 2) return y(remainingMs > 0 && remainingMs <= 60000 ? 1 : 0);
  return y(begun);
}
export async function* executeStream() {
  try { for (;;) yield y(closed); } finally { closed++; }
}`;

test('a cancel reaches what runs and takes away what waits, in the child too', async () => {
  const model = await isolate('stubborn', STUBBORN);
  const running = new AbortController();
  const waiting = new AbortController();
  const first = model.execute(input(0), options({ signal: running.signal }));
  const second = model.execute(input(1), options({ signal: waiting.signal }));
  const third = model.execute(input(1), options());
  for (let i = 0; i < 6000; i++) {
    if ((await readFile(join(root, 'stubborn', '1', 'begun')).catch(() => undefined)) !== undefined) break;
    await sleep(10);
  }
  waiting.abort();
  await assert.rejects(second, { code: 'cancelled' });
  running.abort();
  await assert.rejects(first, { code: 'cancelled' });
  assert.equal(number(await third), 2, 'the first and the third ran, the second never did');
  await assert.rejects(model.execute(input(1), options({ signal: waiting.signal })), { code: 'cancelled' });
  assert.equal(number(await model.execute(input(1), options())), 3, 'one cancelled beforehand is never sent');
});

/** Kills its process. What it has started speaks a moment later, and then holds stderr for as many seconds as asked. */
const LEAVES_STRAY = `import { spawn } from 'node:child_process';
${y}export async function execute({ x }) {
  const stray = 'sleep 0.1; echo last words >&2; exec sleep ' + x.data[0];
  const { pid } = spawn('sh', ['-c', stray], { stdio: ['ignore', 'ignore', 'inherit'], detached: true });
  console.error('stray', pid);
  process.kill(process.pid, 'SIGKILL');
  await new Promise(() => {});
}`;

test('the last words of a child that crashes are read, though they come after its end', async () => {
  const crashes: CrashEvent[] = [];
  const model = await isolate('leaves-words', LEAVES_STRAY, {}, crashes);
  await assert.rejects(model.execute(input(0), options()), { message: /crashed with SIGKILL/ });
  assert.match(crashes[0].stderrTail, /last words/);
});

test('what a model has started holds up neither the refusals nor the next child', async () => {
  const crashes: CrashEvent[] = [];
  const model = await isolate('leaves-holder', LEAVES_STRAY, {}, crashes);
  const { pid } = model;
  await assert.rejects(model.execute(input(3600), options()), { message: /crashed with SIGKILL/ });
  const stray = Number(/stray (\d+)/.exec(crashes[0].stderrTail)?.[1]);
  process.kill(stray, 'SIGKILL');
  for (let i = 0; i < 6000 && model.absence() !== ''; i++) await sleep(10);
  assert.notEqual(model.pid, pid);
});

test('the child knows the deadline', async () => {
  const { monotonicMs } = await import('../../shared/clock.ts');
  const model = await isolate('deadline', STUBBORN);
  assert.equal(number(await model.execute(input(2), options({ deadline: monotonicMs() + 60_000 }))), 1);
});

test('a reader that leaves, or is cancelled, ends the stream in the child', async () => {
  const model = await isolate('leaver', STUBBORN, { decoupled: true });
  for await (const outputs of model.executeStream!(input(1), options())) {
    assert.equal(number(outputs), 0);
    break;
  }
  const controller = new AbortController();
  const seen: number[] = [];
  await assert.rejects(
    async () => {
      for await (const outputs of model.executeStream!(input(1), options({ signal: controller.signal }))) {
        seen.push(number(outputs));
        if (seen.length === 100) controller.abort();
      }
    },
    { code: 'cancelled' },
  );
  assert.deepEqual([...new Set(seen)], [1], 'the first one was closed before the second began');
  assert.equal(seen.length, 100, 'nothing comes after the cancel');
  const third = model.executeStream!(input(1), options())[Symbol.asyncIterator]();
  assert.equal(number((await third.next()).value), 2);
  await third.return?.();
});

test('the child tells the CPU time its runs used, failed ones included; loading is no part of it', async () => {
  const model = await isolate(
    'burner',
    `${y}
    const used = () => process.cpuUsage().user + process.cpuUsage().system;
    const burn = (ms) => { for (const end = used() + ms * 1000; used() < end; ); };
    burn(5000);
    export function execute({ x }) {
      burn(300);
      if (x.data[0] === 0) throw new Error('no zero');
      return y(1);
    }`,
  );
  assert.equal(model.takeCpuSeconds(), 0);
  await model.execute(input(1), options());
  const once = model.takeCpuSeconds();
  assert.ok(once >= 0.3 && once < 4, `${once} s`);
  await assert.rejects(model.execute(input(0), options()), /no zero/);
  await model.execute(input(1), options());
  const twice = model.takeCpuSeconds();
  assert.ok(twice >= 0.6 && twice < 4, `${twice} s`);
});

test('a child over its memory limit is killed with the figures, and comes back', async () => {
  const crashes: CrashEvent[] = [];
  const limit = 400 * 1024 * 1024;
  const model = await isolate(
    'glutton',
    `${y}const kept = [];
    export async function execute({ x }) {
      if (x.data[0] === 0) return y(7);
      for (;;) {
        kept.push(Buffer.alloc(32 * 1024 * 1024, 1));
        await new Promise((resolve) => setTimeout(resolve, kept.length < 20 ? 1 : 60_000));
      }
    }`,
    { parameters: { 'switchyard.memory_limit_bytes': String(limit) } },
    crashes,
  );
  assert.equal(number(await model.execute(input(0), options())), 7);
  const message = new RegExp(`used (\\d+) bytes of memory, over its limit of ${limit}, and was killed$`);
  await assert.rejects(model.execute(input(1), options()), { code: 'unavailable', message });
  assert.ok(Number(message.exec(crashes[0].reason)?.[1]) > limit);
  for (let i = 0; i < 6000 && model.absence() !== ''; i++) await sleep(10);
  assert.equal(number(await model.execute(input(0), options())), 7);
  const parameters = { 'switchyard.memory_limit_bytes': '2GB' };
  await assert.rejects(isolate('wrong', '', { parameters }), { code: 'invalid_argument', message: /"2GB"; allowed/ });
});
