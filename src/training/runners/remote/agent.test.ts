import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { RegistryUnderTest } from '../../../testing/registry.ts';
import { tinyWheel } from '../../../testing/wheel.ts';
import { readJob } from '../../jobs/read.ts';
import type { AttemptStatus } from '../runner.ts';
import { launchScript } from './agent.ts';
import { type AttemptPlan, agentFailure, agentFiles, planAttempt, settleCheckpoint } from './plan.ts';

/** How an attempt went: as the cluster tells it, and what it printed. */
interface Ending {
  code: number;
  output: string;
}

describe('what runs around a command on a cluster', { timeout: 600_000 }, () => {
  const root = mkdtempSync(join(tmpdir(), 'agent-'));
  const wheels = join(root, 'wheels');
  let registry: RegistryUnderTest;
  let runId: string;
  let artifacts: string;
  let folders = 0;
  before(async () => {
    registry = await RegistryUnderTest.open();
    tinyWheel(wheels);
    runId = await newRun();
  });
  after(async () => {
    await registry.close();
    rmSync(root, { recursive: true, force: true });
  });

  const newRun = async (): Promise<string> => {
    const { run } = await registry.ok('POST', 'runs/create', { experiment_id: '0', start_time: 1 });
    artifacts = run.info.artifact_uri.replace('mlflow-artifacts:/', '');
    return run.info.run_id;
  };
  const put = async (path: string, text: string): Promise<string> => {
    const url = `${registry.url}/api/2.0/mlflow-artifacts/artifacts/${artifacts}/${path}`;
    assert.equal((await fetch(url, { method: 'PUT', body: text })).status, 200, url);
    return `sha256:${createHash('sha256').update(text).digest('hex')}`;
  };
  const stored = async (path: string): Promise<string | undefined> => {
    const answer = await fetch(`${registry.url}/api/2.0/mlflow-artifacts/artifacts/${artifacts}/${path}`);
    return answer.status === 200 ? answer.text() : undefined;
  };
  const plan = (spec: Record<string, unknown>, attempt = 1, resumeRun?: string): Promise<AttemptPlan> => {
    const document = readJob({
      apiVersion: 'switchyard/v1',
      kind: 'Job',
      metadata: { name: 'demo' },
      spec: { command: ['sh', 'run.sh'], graceSeconds: 60, ...spec },
    });
    const { database, storage } = registry.registry;
    const times = { timeoutSeconds: 240, keepDays: 1 };
    return planAttempt(document.spec, { database, storage, runId, attempt, resumeRun, ...times });
  };
  /** Starts what a container starts: the launcher, by a shell, in an empty work folder. */
  const start = (
    made: AttemptPlan,
    script: string,
    { env = {}, command = ['sh', 'run.sh'] }: { env?: Record<string, string>; command?: string[] } = {},
  ): { child: ChildProcess; work: string; ending: Promise<Ending> } => {
    const work = join(root, `work-${++folders}`);
    const own = join(root, `agent-${folders}`);
    mkdirSync(work);
    mkdirSync(own);
    for (const [name, text] of Object.entries(agentFiles({ plan: made, certificate: undefined })))
      writeFileSync(join(own, name), text);
    writeFileSync(join(work, 'run.sh'), script);
    const variables = { PATH: process.env.PATH ?? '', TMPDIR: root, MLFLOW_TRACKING_URI: registry.url, ...env };
    const child = spawn('sh', ['-c', launchScript(own), 'sh', ...command], { cwd: work, env: variables });
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    const ending = new Promise<Ending>((resolve) =>
      child.once('close', (code) => resolve({ code: code ?? -1, output })),
    );
    return { child, work, ending };
  };
  const failure = ({ code, output }: Ending) => {
    const status = { phase: 'failed', exitCode: code } as AttemptStatus;
    return agentFailure(status, output);
  };

  test('inputs come by their digests, outputs go to the run, links stay', async () => {
    runId = await newRun();
    await put('data/a.csv', 'a\n1\n');
    await put('data/deep/b.csv', 'b\n2\n');
    const digest = await put('single', 'one');
    const made = await plan({
      inputs: [
        { name: 'data', source: `runs:/${runId}/data` },
        { name: 'single', digest, path: 'one.txt' },
        { name: 'rows', source: 'datasets:/rows@1', format: 'csv', digest },
        { name: 'drivers', featureView: 'drivers', asOf: '2026-01-31', digest },
      ],
      outputs: [
        { name: 'model', path: 'out' },
        { name: 'file', path: 'report.txt' },
        { name: 'more', path: 'nothing', optional: true },
      ],
    });
    const script = `
mkdir -p out/deep; cat inputs/data/a.csv inputs/data/deep/b.csv one.txt inputs/rows/data.csv inputs/drivers/data.parquet > out/deep/all
: > out/empty; ln -s /etc/passwd out/link; echo done > report.txt; echo "$SWITCHYARD_INSTALLER_ARGUMENTS"`;
    const { code, output } = await start(made, script).ending;
    assert.equal(code, 0, output);
    assert.equal(await stored('model/deep/all'), 'a\n1\nb\n2\noneoneone');
    assert.deepEqual(
      [await stored('model/empty'), await stored('model/link'), await stored('file/report.txt')],
      ['', undefined, 'done\n'],
    );
  });

  test('what is missing: the reason and the next step, for the state machine', async () => {
    const made = await plan({ outputs: [{ name: 'model', path: 'out' }] });
    assert.deepEqual(failure(await start(made, 'exit 0').ending), {
      reason: 'output "model": it has not written "out"',
      nextStep: 'let the job write it, or mark the output as optional',
      again: false,
    });
    assert.deepEqual(failure(await start(made, 'ln -s /etc out').ending)?.again, false);
    const nowhere = {
      ...made,
      inputs: [{ name: 'gone', path: 'x', files: [{ path: '', digest: `sha256:${'0'.repeat(64)}` }] }],
    };
    const missing = failure(await start(nowhere, 'exit 0').ending);
    assert.match(missing?.reason ?? '', /^input "gone": the server answered 404: .*No blob has the digest/);
    assert.equal(missing?.again, false);
    const program = failure(await start(made, '', { command: ['no-such-program'] }).ending);
    assert.equal(program?.reason, '"no-such-program" was not found in PATH');
    // The command's own code is its own, whatever it prints.
    const own = await start(made, 'echo "switchyard: failed: not so"; exit 3').ending;
    assert.deepEqual([own.code, failure(own)], [3, undefined]);
    const killed = await start(made, 'kill -9 $$').ending;
    assert.equal(killed.code, 137, killed.output);
  });

  test('an image without Python says so', async () => {
    const bin = join(root, 'bin');
    mkdirSync(bin);
    execFileSync('ln', ['-s', execFileSync('which', ['sh'], { encoding: 'utf8' }).trim(), join(bin, 'sh')]);
    const made = await plan({ outputs: [{ name: 'model', path: 'out' }] });
    const found = failure(await start(made, 'exit 0', { env: { PATH: bin } }).ending);
    assert.match(found?.reason ?? '', /there is no python3 of at least 3\.8/);
    assert.match(found?.nextStep ?? '', /take an image with python3/);
  });

  test('requirements: built once, found again, and why they cannot be', async () => {
    const made = await plan({ environment: { requirements: 'tiny-sy==1.0  # small' } });
    assert.ok(made.environment !== null, 'the plan has an environment');
    const kept = { ...made, environment: { ...made.environment, kept: true } };
    const env = { SWITCHYARD_INSTALLER_ARGUMENTS: JSON.stringify(['--no-index', '--find-links', wheels]) };
    const script = 'tiny-sy; python -c "import sys; print(sys.prefix)"; echo "args:$SWITCHYARD_INSTALLER_ARGUMENTS"';
    const first = await start(kept, script, { env }).ending;
    assert.deepEqual([first.code, first.output.includes('tiny at work')], [0, true], first.output);
    assert.match(first.output, /args:\n/);
    const second = await start(kept, script, { env }).ending;
    assert.equal(second.output, first.output);
    const wrong = { ...made, environment: { ...made.environment, requirements: 'no-such-package-sy==9' } };
    const found = failure(await start(wrong, script, { env }).ending);
    assert.match(found?.reason ?? '', /the requirements could not be installed: ERROR: No matching distribution/);
    assert.deepEqual([found?.nextStep, found?.again], ['correct spec.environment.requirements', false]);
  });

  test('a checkpoint: stored whole at each end, brought to the next attempt and to another job', async () => {
    runId = await newRun();
    const root = artifacts;
    const settle = (attempt: number) => settleCheckpoint(root, attempt, registry.registry);
    const spec = { checkpoint: { path: 'ck' } };
    const script = 'cat ck/state 2>/dev/null; echo one > ck/state; echo x > ck/old; exit 3';
    const first = await start(await plan(spec), script).ending;
    assert.equal(first.code, 3, first.output);
    assert.equal(await stored('checkpoint/state'), undefined);
    // Of an attempt that was given up long ago.
    await settle(7);
    assert.equal(await stored('checkpoint/state'), undefined);
    await settle(1);
    assert.equal(await stored('checkpoint/state'), 'one\n');

    const again = start(
      await plan(spec, 2),
      'cat ck/state; rm ck/old; echo two > ck/state; trap "echo bye; exit 0" TERM; echo up > up; while :; do sleep 0.1; done',
    );
    while (!existsSync(join(again.work, 'up'))) await sleep(20);
    again.child.kill('SIGTERM');
    const second = await again.ending;
    assert.match(second.output, /one\n[\s\S]*bye\n/);
    await settle(2);
    assert.deepEqual(
      [await stored('checkpoint/state'), await stored('checkpoint/old'), await stored('.checkpoint/latest')],
      ['two\n', undefined, undefined],
    );

    const from = runId;
    runId = await newRun();
    const other = { ...spec, resumeFrom: 'abcdefgh12' };
    const resumed = await start(await plan(other, 1, from), 'cat ck/state').ending;
    assert.match(resumed.output, /two\n/);
    const empty = await newRun();
    await assert.rejects(plan(other, 1, empty), /resumeFrom: job abcdefgh12 has left no checkpoint/);
  });

  test('what ignores its end is killed with all it started, and a folder that outlived the attempt stays', async () => {
    runId = await newRun();
    await put('checkpoint/state', 'stored');
    const made = { ...(await plan({ checkpoint: { path: 'ck' } }, 2)), graceSeconds: 0.5 };
    const folder = join(root, 'shared');
    mkdirSync(folder);
    writeFileSync(join(folder, 'state'), 'newer');
    assert.ok(made.checkpoint !== null, 'the plan has a checkpoint');
    const shared = { ...made, checkpoint: { ...made.checkpoint, path: folder } };
    const script = `cat ${folder}/state; trap "" TERM; sleep 600 & echo $! > child; echo up > up; while :; do sleep 0.1; done`;
    const running = start(shared, script);
    while (!existsSync(join(running.work, 'up'))) await sleep(20);
    running.child.kill('SIGTERM');
    const { code, output } = await running.ending;
    assert.deepEqual([code, output.startsWith('newer')], [137, true], output);
    const child = readFileSync(join(running.work, 'child'), 'utf8').trim();
    while (existsSync(`/proc/${child}`) && !/^State:\tZ/m.test(readFileSync(`/proc/${child}/status`, 'utf8')))
      await sleep(20);
  });

  test('a server that is away may come back: the attempt is one to try again', async () => {
    const made = await plan({ inputs: [{ name: 'data', digest: `sha256:${'1'.repeat(64)}` }] });
    const { child, ending } = start({ ...made, patienceSeconds: 1 }, 'exit 0', {
      env: { MLFLOW_TRACKING_URI: 'http://127.0.0.1:1' },
    });
    const found = failure(await ending);
    assert.equal(child.exitCode, 75);
    assert.match(found?.reason ?? '', /input "data": the server at http:\/\/127\.0\.0\.1:1 cannot be reached/);
    assert.equal(found?.again, true);
  });
});
