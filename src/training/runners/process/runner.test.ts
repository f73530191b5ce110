import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { getPriority, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { readJob } from '../../jobs/read.ts';
import type { JobDocumentInput } from '../../jobs/spec.ts';
import type { AttemptSpec, AttemptStatus } from '../runner.ts';
import { AttemptFolder } from './folder.ts';
import { marked } from './proc.ts';
import { ProcessRunner } from './runner.ts';

const folder = mkdtempSync(join(tmpdir(), 'attempts-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const MiB = 2 ** 20;
const settings = {
  folder,
  memoryBytes: 256 * MiB,
  diskBytes: 64 * MiB,
  minFreeBytes: 0,
  logBytes: 1 * MiB,
  nice: 5,
};
const runner = new ProcessRunner(settings);
let count = 0;

function attempt(script: string, spec: Record<string, unknown> = {}, more: Partial<AttemptSpec> = {}): AttemptSpec {
  const name = `sy-test${process.pid}-${++count}`;
  const workDir = join(folder, name, 'work');
  mkdirSync(workDir, { recursive: true });
  const document = {
    apiVersion: 'switchyard/v1',
    kind: 'Job',
    metadata: { name: 'test' },
    spec: { command: ['sh', '-c', script], graceSeconds: 1, ...spec },
  };
  return {
    name,
    jobId: 'test',
    attempt: 1,
    spec: readJob(document as JobDocumentInput).spec,
    env: { PATH: process.env.PATH ?? '' },
    secrets: [],
    workDir,
    python: undefined,
    ...more,
  };
}

async function ended(name: string, by = runner): Promise<AttemptStatus> {
  for (;;) {
    const status = await by.status(name);
    assert.ok(status !== undefined);
    if (status.phase !== 'starting' && status.phase !== 'running') return status;
    await by.changed(name, 500);
  }
}

async function output(name: string): Promise<string> {
  return (await runner.logs(name, 0, 4 * MiB)).bytes.toString();
}

async function shows(name: string, text: string): Promise<void> {
  while (!(await output(name)).includes(text)) await sleep(20);
}

/** Runs to the end; nothing may be left of it. */
async function run(what: AttemptSpec): Promise<AttemptStatus> {
  await runner.start(what);
  const status = await ended(what.name);
  assert.deepEqual(marked(what.name), []);
  return status;
}

describe('processes', { timeout: 600_000 }, () => {
  test('one that succeeds: its output, its end, its niceness, a session of its own', async () => {
    const what = attempt('echo out; echo err >&2; nice; pwd');
    const status = await run(what);
    assert.deepEqual(
      { ...status, startedAt: 0, endedAt: 0 },
      { phase: 'succeeded', exitCode: 0, signal: null, reason: '', startedAt: 0, endedAt: 0 },
    );
    const log = await output(what.name);
    const niceness = String(getPriority() + 5);
    assert.deepEqual(log.trim().split('\n').sort(), [niceness, 'err', 'out', what.workDir].sort());
    const { bytes, next, end } = await runner.logs(what.name, log.length - 3, 100);
    assert.deepEqual([bytes.length, next, end], [3, log.length, true]);
  });

  test('one that exits non-zero, and one that kills itself', async () => {
    const failed = await run(attempt('exit 3'));
    assert.deepEqual([failed.phase, failed.exitCode, failed.reason], ['failed', 3, 'exit code 3']);
    const killed = await run(attempt('kill -9 $$'));
    assert.deepEqual([killed.phase, killed.signal], ['failed', 'SIGKILL']);
    assert.match(killed.reason, /killed by SIGKILL/);
  });

  test('a program that is not there', async () => {
    const status = await run(attempt('', { command: ['no-such-program'] }));
    assert.deepEqual([status.phase, status.reason], ['failed', '"no-such-program" was not found in PATH']);
    const file = await run(attempt('', { command: ['./train.sh'] }));
    assert.match(file.reason, /was not found in the work folder/);
  });

  test('no shell reads the arguments', async () => {
    const what = attempt('', { command: ['printf', '%s|', '; echo injected', '$HOME', '*'] });
    await run(what);
    assert.equal(await output(what.name), '; echo injected|$HOME|*|');
  });

  test('cancel ends what hears TERM, and kills what does not, with all its children', async () => {
    const polite = attempt('trap "echo bye; exit 0" TERM; echo up; while :; do sleep 0.1; done');
    await runner.start(polite);
    await shows(polite.name, 'up');
    await runner.cancel(polite.name, 60_000);
    assert.equal((await ended(polite.name)).phase, 'cancelled');
    assert.match(await output(polite.name), /bye/);
    const deaf = attempt('trap "" TERM; (trap "" TERM; sleep 300) & echo up; while :; do sleep 0.1; done');
    await runner.start(deaf);
    await shows(deaf.name, 'up');
    await runner.cancel(deaf.name, 100);
    assert.equal((await ended(deaf.name)).phase, 'cancelled');
    assert.deepEqual(marked(deaf.name), []);
    await runner.cancel(deaf.name, 100);
  });

  test('a daemon that left group and session dies with the job', async () => {
    const what = attempt('setsid sh -c "trap \\"\\" TERM HUP; sleep 300" >/dev/null 2>&1 & echo started; sleep 0.2');
    const status = await run(what);
    assert.equal(status.phase, 'succeeded');
  });

  test('one that hangs runs into its timeout', async () => {
    const status = await run(attempt('sleep 300', { timeoutSeconds: 0.5 }));
    assert.deepEqual([status.phase, status.reason], ['timedOut', 'it ran longer than 0.5 s']);
  });

  test('one that floods its log: beginning and end are kept, and it is told', async () => {
    const what = attempt('echo first; head -c 20000000 /dev/zero | tr "\\0" x; echo; echo last');
    const status = await run(what);
    assert.equal(status.phase, 'succeeded');
    assert.match(status.reason, /its log was cut: \d+ bytes were left out/);
    const log = await output(what.name);
    assert.ok(log.length < 1.2 * MiB, `${log.length}`);
    assert.ok(log.startsWith('first\n') && log.endsWith('last\n'));
    assert.match(log, /\[switchyard\] the log is full at 1 MiB/);
    assert.match(log, /\[switchyard\] 18 MiB were left out here/);
  });

  test('one that takes too much memory', async () => {
    const program = 'x = []\nwhile True: x.append(bytearray(8 << 20))';
    const what = attempt('', { command: ['python3', 'eat.py'], resources: { memory: '64Mi' } });
    mkdirSync(what.workDir, { recursive: true });
    writeFileSync(join(what.workDir, 'eat.py'), program);
    const status = await run(what);
    assert.equal(status.phase, 'failed');
    // The look between, or the interpreter's own MemoryError at the limit of one process.
    assert.match(status.reason + (await output(what.name)), /out of memory: it used .* may use 64 MiB|MemoryError/);
  });

  test('one that fills the disk', async () => {
    const many = attempt('i=0; while :; do head -c 4000000 /dev/zero > f$i; i=`expr $i + 1`; done', {
      resources: { disk: '16Mi' },
    });
    const status = await run(many);
    assert.deepEqual([status.phase, status.reason], ['failed', 'out of disk: its work folder is larger than 16 MiB']);
    const one = await run(attempt('exec head -c 100000000 /dev/zero > f', { resources: { disk: '16Mi' } }));
    assert.equal(one.phase, 'failed');
    assert.match(one.reason, /SIGXFSZ|exit code 1|out of disk/);
  });

  test('another server takes it up by its name, and starting it again starts nothing', async () => {
    const what = attempt('echo begun; while [ ! -e go ]; do sleep 0.1; done; echo done');
    await Promise.all([runner.start(what), new ProcessRunner(settings).start(what)]);
    const other = new ProcessRunner(settings);
    await other.start(what);
    await shows(what.name, 'begun');
    assert.equal((await other.status(what.name))?.phase, 'running');
    writeFileSync(join(what.workDir, 'go'), '');
    assert.equal((await ended(what.name, other)).phase, 'succeeded');
    await other.start(what);
    assert.equal(await output(what.name), 'begun\ndone\n');
  });

  test('when its supervisor is killed nothing of it stays, and it is lost', async () => {
    const what = attempt('setsid sleep 300 & sleep 300 & echo up; wait');
    await runner.start(what);
    await shows(what.name, 'up');
    process.kill(new AttemptFolder(folder, what.name).supervisor()?.pid as number, 'SIGKILL');
    const status = await ended(what.name);
    assert.equal(status.phase, 'lost');
    assert.match(status.reason, /supervisor process was killed/);
    assert.deepEqual(marked(what.name), []);
  });

  test('several processes know their ranks, and one that fails takes the others along', async () => {
    const what = attempt('echo "rank $RANK of $WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT"', { procsPerNode: 3 });
    assert.equal((await run(what)).phase, 'succeeded');
    const lines = (await output(what.name)).trim().split('\n').sort();
    assert.match(lines[0], /^\[rank 1\] rank 1 of 3 at 127\.0\.0\.1:\d+$/);
    assert.match(lines[1], /^\[rank 2\] rank 2 of 3/);
    assert.match(lines[2], /^rank 0 of 3/);
    const failing = attempt('[ "$RANK" = 1 ] && exit 7; sleep 300', { procsPerNode: 3 });
    const status = await run(failing);
    assert.deepEqual([status.phase, status.exitCode], ['failed', 7]);
  });

  test('secrets reach the process, and neither its log nor any file', async () => {
    const env = { PATH: process.env.PATH ?? '', TOKEN: 'hunter2-token' };
    const what = attempt('echo "token is $TOKEN, $' + '{#TOKEN} characters"', {}, { env, secrets: ['hunter2-token'] });
    await run(what);
    assert.equal(await output(what.name), 'token is ***, 13 characters\n');
    const files = readdirSync(join(folder, what.name), { recursive: true, encoding: 'utf8' });
    for (const file of files) {
      const path = join(folder, what.name, file);
      if (statSync(path).isFile()) assert.ok(!readFileSync(path, 'utf8').includes('hunter2'), file);
    }
  });

  test('the environment is the one that was given', async () => {
    process.env.SWITCHYARD_TEST_LEAK = 'leak';
    const what = attempt('env');
    await run(what);
    delete process.env.SWITCHYARD_TEST_LEAK;
    const names = (await output(what.name))
      .trim()
      .split('\n')
      .map((line) => line.split('=')[0]);
    // Under a coverage run node itself hands this one on to every node process.
    const given = names.filter((name) => name !== 'NODE_V8_COVERAGE');
    assert.deepEqual(given.sort(), ['PATH', 'PWD', 'SWITCHYARD_ATTEMPT']);
  });

  test('remove ends what runs and leaves no files', async () => {
    const what = attempt('sleep 300');
    await runner.start(what);
    await runner.remove(what.name);
    assert.equal(await runner.status(what.name), undefined);
    assert.deepEqual(marked(what.name), []);
    await runner.remove(what.name);
  });

  test('what it cannot do is refused by name', () => {
    const spec = (given: Record<string, unknown>) => attempt('', given).spec;
    assert.throws(() => runner.check(spec({ nodes: 2 })), /spec\.nodes: 2 is not allowed/);
    assert.throws(() => runner.check(spec({ command: undefined, image: 'x' })), /spec\.command: missing/);
    assert.throws(() => runner.check(spec({ environment: { image: 'x' } })), /spec\.environment\.image/);
    assert.throws(() => runner.check(spec({ resources: { memory: '1Ti' } })), /training\.process\.memoryBytes/);
    assert.throws(() => runner.check(spec({ resources: { disk: '1Ti' } })), /training\.process\.diskBytes/);
    runner.check(spec({ image: 'for-other-runners' }));
  });
});
