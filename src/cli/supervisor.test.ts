import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  crashFile,
  EXIT_CONFIG,
  engineFlags,
  finalExitCode,
  mustQuarantine,
  recentCrashes,
  recordCrashes,
  restartDelay,
} from './supervisor.ts';

test('crashes of the last minute are remembered across processes', (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const dataDir = join(folder, 'not', 'yet');
  assert.deepEqual(recentCrashes(dataDir, 1000), []);
  recordCrashes(dataDir, [1000, 30_000, 61_000]);
  assert.deepEqual(recentCrashes(dataDir, 61_000), [30_000, 61_000]);
  assert.deepEqual(recentCrashes(dataDir, 200_000), []);
});

test('a damaged crash file counts as none', (t) => {
  const dataDir = mkdtempSync(join(tmpdir(), 'switchyard-'));
  t.after(() => rmSync(dataDir, { recursive: true }));
  for (const [text, kept] of [
    ['{', []],
    ['{"a":1}', []],
    ['[1, "x", null, 2]', [1, 2]],
  ] as const) {
    writeFileSync(crashFile(dataDir), text);
    assert.deepEqual(recentCrashes(dataDir, 3), kept);
  }
});

test('the collector keeps to its threads where they fill the cores', () => {
  assert.deepEqual(
    [1, 2, 3, 64].map((cores) => engineFlags(cores).filter((flag) => flag.endsWith('-gc')).length),
    [1, 1, 0, 0],
  );
});

test('this engine has all the flags that it is given', () => {
  const { status, stderr } = spawnSync(process.execPath, [...engineFlags(1), '-e', ''], { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});

test('the third crash quarantines', () => {
  assert.equal(mustQuarantine([1, 2]), false);
  assert.equal(mustQuarantine([1, 2, 3]), true);
});

test('one crash is answered at once, many are waited for ever longer, up to a bound', () => {
  assert.ok(restartDelay(1) <= 500);
  assert.equal(restartDelay(1), restartDelay(3));
  assert.ok(restartDelay(5) > restartDelay(4));
  assert.equal(restartDelay(1000), restartDelay(100));
  assert.ok(restartDelay(1000) <= 10_000);
});

test('only a crash is followed by a new start', () => {
  const killed = { code: null, signal: 'SIGSEGV' } as const;
  assert.equal(finalExitCode(killed, false, true), undefined);
  assert.equal(finalExitCode({ code: 1, signal: null }, false, true), undefined);
  assert.equal(finalExitCode({ code: 0, signal: null }, false, true), 0);
  assert.equal(finalExitCode({ code: EXIT_CONFIG, signal: null }, false, true), EXIT_CONFIG);
});

test('whoever was told to stop does not start again', () => {
  assert.equal(finalExitCode({ code: null, signal: 'SIGTERM' }, true, true), 0);
  assert.equal(finalExitCode({ code: 1, signal: null }, true, true), 1);
});

test('without restarts a crash is the end, and not a success', () => {
  assert.equal(finalExitCode({ code: null, signal: 'SIGKILL' }, false, false), 1);
  assert.equal(finalExitCode({ code: 7, signal: null }, false, false), 7);
});
