import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { endedChildrenCpuSeconds, parseStat, treeCpuSeconds, treeOf, treePids } from './process-cpu.ts';

const line = (pid: number, name: string, parent: number, session: number): string =>
  `${pid} (${name}) S ${parent} ${pid} ${session} 0 -1 4194560 1 0 0 0 150 50 20 10 20 0 1 0 100 0 3`;

test('a command name with spaces and parentheses does not shift the fields', () => {
  const stat = parseStat(line(7, 'a) (b c', 3, 2));
  assert.deepEqual(stat, { pid: 7, parent: 3, session: 2, cpuSeconds: 2.3, childSeconds: 0.3, residentBytes: 12_288 });
});

test('a tree holds descendants and orphans of the session, nothing else', () => {
  const all = [line(10, 'root', 1, 10), line(12, 'grandchild', 11, 5), line(11, 'child', 10, 10)].map(parseStat);
  all.push(parseStat(line(13, 'orphan', 1, 10)), parseStat(line(14, 'stranger', 1, 14)));
  assert.deepEqual(
    treeOf(all, 10)
      .map((p) => p.pid)
      .sort(),
    [10, 11, 12, 13],
  );
});

test('a busy grandchild is found and charged', async () => {
  const child = spawn('sh', ['-c', 'sh -c "while :; do :; done" & wait'], { detached: true, stdio: 'ignore' });
  const pid = child.pid!;
  try {
    while (treeCpuSeconds(pid) < 0.1) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(treePids(pid).length >= 2);
  } finally {
    process.kill(-pid, 'SIGKILL');
    await once(child, 'exit');
  }
});

test('time of an ended child is counted once it is reaped', () => {
  const before = endedChildrenCpuSeconds();
  spawnSync('sh', ['-c', 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done']);
  assert.ok(endedChildrenCpuSeconds() > before);
});
