import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { coreLists } from '../testing/core-lists.ts';
import { startOn, takeCores } from './cores.ts';
import { native } from './native.ts';

const usable = native?.usableCores() ?? [];
const skip = usable.length < 2 && 'Linux, the addon and two cores only';
const [first] = usable;
const last = usable.at(-1) as number;
const cores = (...list: number[]): Int32Array => Int32Array.from(list);

/** Cores that a child process finds itself on. */
function childs(): string {
  return /Cpus_allowed_list:\s*(\S+)/.exec(execFileSync('cat', ['/proc/self/status'], { encoding: 'utf8' }))?.[1] ?? '';
}

/** Those of the threads that `start` adds. */
async function startedOn(start: () => void): Promise<string[]> {
  const before = coreLists(process.pid);
  start();
  const after = coreLists(process.pid);
  return [...after].filter(([thread]) => !before.has(thread)).map(([, list]) => list);
}

function worker(): void {
  new Worker('setTimeout(() => {}, 1000)', { eval: true }).unref();
}

test('a thread on its own core leaves it to no thread that is started elsewhere, and to no child', {
  skip,
}, async () => {
  const all = childs();
  const before = coreLists(process.pid);
  const thread = takeCores({ own: [last], runs: [first], shared: usable.slice(0, -1) });
  const after = coreLists(process.pid);
  assert.equal(after.get(thread), String(last));
  for (const [other, list] of before) if (other !== thread) assert.equal(after.get(other), list);
  assert.equal(childs(), String(last), 'a child inherits it');
  assert.ok(native?.giveChildrenCores(Int32Array.from(usable)));
  assert.equal(childs(), all);
  assert.deepEqual(await startedOn(worker), [String(last)], 'a thread inherits it');
  assert.deepEqual(await startedOn(() => startOn('runs', worker)), [String(first)]);
  assert.throws(() => startOn('runs', () => assert.fail('as it may')), /as it may/);
  assert.equal(coreLists(process.pid).get(thread), String(last));
  assert.ok(native?.useCores(thread, Int32Array.from(usable)));
  assert.equal(coreLists(process.pid).get(thread), all);
});

test('cores and threads that there are not are refused', { skip }, () => {
  const list = coreLists(process.pid).get(process.pid);
  for (const bad of [cores(), cores(-1), cores(2 ** 20), cores(8191)]) assert.equal(native?.useCores(0, bad), false);
  for (const thread of [-1, 2 ** 31 - 1]) assert.equal(native?.useCores(thread, cores(first)), false);
  assert.equal(native?.giveChildrenCores(cores()), false);
  assert.throws(() => native?.useCores(0, [0] as never), /Int32Array/);
  assert.throws(() => native?.giveChildrenCores([0] as never), /Int32Array/);
  assert.equal(coreLists(process.pid).get(process.pid), list);
});
