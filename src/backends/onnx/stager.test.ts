import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NativeStager } from '../../tensor/native.ts';
import { PiecedTensor } from '../../tensor/pieced.ts';
import { StagedOnnxModel } from './staged-model.ts';
import { chooseStager, openStager } from './stager.ts';

/** The addon's side: slots that are answered when the test says so. Output 0 is the input, doubled. */
function addon(slots: number) {
  const state = { open: false, problem: '', slots, lost: false, inputs: [], outputs: [] };
  const held = new Map<number, Uint8Array>();
  const answers: { slot: number; problem: string; lost: boolean }[] = [];
  let wake = () => {};
  let closed = 0;
  const native = {
    stageOpen(...given: unknown[]) {
      wake = given[7] as () => void;
      return {};
    },
    stageState: () => state,
    stageRun(_: object, __: number, inputs: Uint8Array[][]) {
      const slot = [...Array(slots).keys()].find((each) => !held.has(each)) ?? -1;
      if (slot < 0 || state.lost) return -1;
      held.set(slot, Uint8Array.from(inputs[0].flatMap((piece) => [...piece])));
      return slot;
    },
    stageAnswered: () => answers.splice(0),
    stageRead(_: object, slot: number, rows: number, outputs: number[]) {
      const bytes = held.get(slot)!;
      held.delete(slot);
      return outputs.map(() => bytes.slice(0, rows * 4).map((value) => value * 2).buffer);
    },
    stageClose: () => {
      closed++;
    },
  } as unknown as NativeStager;
  const answer = (slot: number, problem = '', lost = false) => {
    if (lost) state.lost = true;
    answers.push({ slot, problem, lost });
  };
  const opened = (problem = '') => {
    state.open = problem === '';
    state.problem = problem;
    wake();
  };
  const open = (device: number, now?: () => number) =>
    openStager(
      native,
      device,
      (_, woken) => native.stageOpen('', '', new Int32Array(8), [], [], new Float64Array(0), [], woken),
      now,
    );
  return { open, opened, answer, wake: () => wake(), closes: () => closed };
}

const batch = (value: number) => [
  { name: 'x', datatype: 'FP32' as const, shape: [1, 1], data: new Uint8Array(4).fill(value) },
];
const options = { outputs: [], deadline: Number.POSITIVE_INFINITY };
const spec = (name: string) => ({ name, datatype: 'FP32' as const, dims: [-1, 1] });
const signature = { inputs: [spec('x')], outputs: [spec('y')] };

test('batches in several slots are answered to their own callers, by one wake-up', async () => {
  const fake = addon(2);
  const opening = fake.open(0);
  fake.opened();
  const model = new StagedOnnxModel('m', [await opening], signature, true, 1);
  assert.equal(model.concurrency, 2);
  const both = [model.execute(batch(1), options), model.execute(batch(3), options)];
  await assert.rejects(model.execute(batch(5), options), { code: 'unavailable', message: /free slot/ });
  fake.answer(1);
  fake.answer(0);
  fake.wake();
  const outputs = await Promise.all(both);
  assert.deepEqual(
    outputs.map(([{ name, shape, data }]) => [name, shape, data[0]]),
    [
      ['y', [1, 1], 2],
      ['y', [1, 1], 6],
    ],
  );
  await model.unload();
  assert.equal(fake.closes(), 1);
  await assert.rejects(model.execute(batch(1), options), /is unloaded/);
});

test('a batch in pieces is handed on as it lies', async () => {
  const fake = addon(1);
  const opening = fake.open(0);
  fake.opened();
  const model = new StagedOnnxModel('m', [await opening], signature, true, 1);
  const pieces = [1, 2].map((value) => new Uint8Array(4).fill(value));
  const running = model.execute([new PiecedTensor('x', 'FP32', [2, 1], pieces, 8)], options);
  fake.answer(0);
  fake.wake();
  assert.deepEqual([...(await running)[0].data], [2, 2, 2, 2, 4, 4, 4, 4]);
});

test('time in which batches overlap is counted once, and each GPU for itself', async () => {
  const fakes = [addon(2), addon(2)];
  let now = 100;
  const opening = Promise.all(fakes.map((fake, device) => fake.open(device, () => now)));
  for (const fake of fakes) fake.opened();
  const model = new StagedOnnxModel('m', await opening, signature, true, 1);
  const running: Promise<unknown>[] = [];
  const start = (at: number) => {
    now = at;
    running.push(model.execute(batch(1), options));
  };
  const end = async (at: number, gpu: number, slot: number) => {
    now = at;
    fakes[gpu].answer(slot);
    fakes[gpu].wake();
  };
  // By turns on both: the first works from 100 to 130 and from 150 to 160, the second from 105 to 140.
  start(100);
  start(105);
  start(110);
  await end(120, 0, 0);
  assert.equal(model.gpuBusyMs, 20);
  await end(130, 0, 1);
  await end(140, 1, 0);
  fakes[1].wake();
  assert.equal(model.gpuBusyMs, 65);
  start(150);
  await end(160, 0, 0);
  await Promise.all(running);
  assert.equal(model.gpuBusyMs, 75);
  await model.unload();
  assert.equal(model.gpuBusyMs, 75);
});

test('a failed batch fails alone; a lost GPU takes its slots away, and the model is ready while another is left', async () => {
  const [first, second] = [addon(1), addon(1)];
  const opening = Promise.all([first.open(0), second.open(1)]);
  first.opened();
  second.opened();
  const model = new StagedOnnxModel('m', await opening, signature, true, 1);
  assert.equal(model.concurrency, 2);
  const failing = model.execute(batch(1), options);
  const going = model.execute(batch(4), options);
  first.answer(0, 'CUDA error 700, an illegal memory access was encountered', true);
  first.wake();
  await assert.rejects(failing, { code: 'internal', message: /model "m": CUDA error 700/ });
  second.answer(0);
  second.wake();
  assert.equal((await going)[0].data[0], 8);
  assert.equal(model.concurrency, 1);
  assert.equal(model.absence(), '', 'the second GPU serves');
  const again = model.execute(batch(2), options);
  second.answer(0, 'lost too', true);
  second.wake();
  await assert.rejects(again, /lost too/);
  assert.match(model.absence(), /every GPU it is on is lost/);
  await assert.rejects(model.execute(batch(2), options), { code: 'unavailable' });
  await model.unload();
});

test('a model that cannot be put on its GPU says why, and is closed', async () => {
  const fake = addon(1);
  const opening = fake.open(0);
  fake.opened('Unknown provider option: "gpu_memlimit"');
  await assert.rejects(opening, /gpu_memlimit/);
  assert.equal(fake.closes(), 1);
});

test('the GPU with most free slots is chosen, a lost one never', () => {
  const gpu = (slots: number, inFlight: number) => ({ slots, inFlight });
  const list = [gpu(2, 2), gpu(3, 1), gpu(0, 0), gpu(2, 1)];
  assert.equal(chooseStager(list), list[1]);
  assert.equal(chooseStager([gpu(0, 0), gpu(1, 1)]), undefined);
});
