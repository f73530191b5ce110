import assert from 'node:assert/strict';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { test } from 'node:test';
import { native } from './native.ts';

/** Niceness and policy of a thread, by the kernel's own account: fields 19 and 41. */
function scheduling(thread: number): { nice: number; policy: number } {
  const stat = readFileSync(`/proc/self/task/${thread}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return { nice: Number(fields[16]), policy: Number(fields[38]) };
}

const BATCH = 3;
const skip = native === undefined || process.platform !== 'linux' ? 'Linux and the addon only' : false;

test('a thread that gives way is nicer and a batch, and no other thread is', { skip }, () => {
  const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  const others = readdirSync('/proc/self/task')
    .map(Number)
    .filter((other) => other !== thread);
  const before = scheduling(thread);
  const othersBefore = others.map(scheduling);
  native?.giveWay(3);
  assert.deepEqual(scheduling(thread), { nice: Math.min(before.nice + 3, 19), policy: BATCH });
  native?.giveWay(2 ** 31 - 1);
  assert.deepEqual(scheduling(thread), { nice: 19, policy: BATCH });
  assert.deepEqual(others.map(scheduling), othersBefore);
  assert.throws(() => native?.giveWay(-1), /not negative/);
});
