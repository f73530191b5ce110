import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { V1Job, V1Pod } from '@kubernetes/client-node';
import fc from 'fast-check';
import { readJob } from '../jobs/read.ts';
import { exitReason, masked, slice } from './cluster.ts';
import { agentManifest, filesManifest, jobManifest, secretManifest } from './kubernetes/manifest.ts';
import { jobStatus, startProblem } from './kubernetes/pod-status.ts';
import { rayStatus, shellLine } from './ray/runner.ts';
import { zip } from './ray/zip.ts';
import { type AttemptPlan, agentFiles } from './remote/plan.ts';
import type { AttemptSpec } from './runner.ts';
import { trainJobManifest } from './trainjob/manifest.ts';
import { trainJobStatus } from './trainjob/runner.ts';

const SETTINGS = { namespace: 'training', serviceAccount: 'jobs', ttlSeconds: 60, checkpointClaim: 'claim' };

const PLAN: AttemptPlan = {
  attempt: 1,
  graceSeconds: 1,
  patienceSeconds: 1,
  passSignals: true,
  inputs: [],
  outputs: [],
  root: '0/run/artifacts',
  checkpoint: null,
  environment: null,
};

function attempt(spec: Record<string, unknown> = {}): AttemptSpec {
  const document = readJob({
    apiVersion: 'switchyard/v1',
    kind: 'Job',
    metadata: { name: 'demo' },
    spec: { image: 'python:3.11', command: ['python', 'train.py'], args: ['--lr', '1'], ...spec },
  });
  const fields = { name: 'sy-abc-1', jobId: 'abc', attempt: 1, workDir: '', python: undefined };
  return { ...fields, spec: document.spec, env: { TOKEN: 'hunter2', A: '1' }, secrets: ['hunter2'] };
}

test('a Job is tried once, ends by itself, and has no rights on its node', () => {
  const spec = {
    files: { 'train.py': 'print(1)', 'lib/a.py': '' },
    resources: { cpu: 0.5, memory: '1Gi', gpu: 1, disk: '2Gi' },
    timeoutSeconds: 90.5,
    graceSeconds: 3,
    checkpoint: { path: 'ckpt' },
  };
  const { spec: job, metadata } = jobManifest(attempt(spec), SETTINGS);
  assert.equal(metadata?.name, 'sy-abc-1');
  assert.deepEqual(
    [job?.backoffLimit, job?.activeDeadlineSeconds, job?.ttlSecondsAfterFinished, job?.podFailurePolicy?.rules.length],
    [0, 91, 60, 2],
  );
  const pod = job?.template.spec;
  assert.deepEqual(
    [pod?.restartPolicy, pod?.automountServiceAccountToken, pod?.hostNetwork, pod?.serviceAccountName],
    ['Never', false, undefined, 'jobs'],
  );
  const [container] = pod?.containers ?? [];
  assert.deepEqual(container.securityContext, {
    allowPrivilegeEscalation: false,
    privileged: false,
    capabilities: { drop: ['ALL'] },
  });
  assert.deepEqual(
    [container.command, container.args],
    [
      ['python', 'train.py'],
      ['--lr', '1'],
    ],
  );
  assert.deepEqual(container.resources?.limits, { cpu: '500m', memory: '1073741824', 'nvidia.com/gpu': '1' });
  assert.deepEqual(
    container.volumeMounts?.map(({ mountPath, subPath }) => [mountPath, subPath]),
    [
      ['/work', undefined],
      ['/work/train.py', 'file-0'],
      ['/work/lib/a.py', 'file-1'],
      ['/work/ckpt', 'abc'],
    ],
  );
  // With what its agent carries: the command is the agent's, and there is time to store what is there.
  const carried = {
    plan: { ...PLAN, outputs: [{ name: 'model', path: 'out', optional: false }] },
    certificate: 'PEM',
  };
  const whole = jobManifest({ ...attempt(spec), carried }, SETTINGS).spec?.template.spec;
  assert.deepEqual(
    [whole?.containers[0].command?.slice(0, 2), whole?.containers[0].args, whole?.terminationGracePeriodSeconds],
    [['sh', '-c'], ['python', 'train.py', '--lr', '1'], 63],
  );
  assert.deepEqual(
    whole?.containers[0].volumeMounts?.map(({ mountPath }) => mountPath),
    ['/work', '/work/train.py', '/work/lib/a.py', '/switchyard', '/work/ckpt'],
  );
  assert.deepEqual(Object.keys(agentManifest({ ...attempt(spec), carried })?.data ?? {}), [
    'attempt.py',
    'plan.json',
    'ca.pem',
  ]);
  const files = Array.from({ length: 10_000 }, (_, i) => ({ path: `part-${i}`, digest: `sha256:${'0'.repeat(64)}` }));
  const many = { ...PLAN, inputs: [{ name: 'data', path: 'data', files }] };
  assert.throws(
    () => agentFiles({ plan: many, certificate: undefined }),
    /spec\.inputs: .* pack them into fewer files/,
  );
  for (const volume of pod?.volumes ?? []) assert.equal(volume.hostPath, undefined);
  // What is secret is in no Job and no map of files.
  const text = JSON.stringify([
    job,
    filesManifest(attempt(spec)),
    trainJobManifest(attempt(spec), SETTINGS, 'torch', 0),
  ]);
  assert.equal(text.includes('hunter2'), false);
  assert.equal(secretManifest(attempt(spec)).stringData?.TOKEN, 'hunter2');
  const ranks = jobManifest(attempt({ procsPerNode: 4 }), SETTINGS).spec?.template.spec?.containers[0].command;
  assert.deepEqual(ranks?.slice(0, 3), ['torchrun', '--nnodes=1', '--nproc-per-node=4']);
});

test('how a Job stands, and why it failed', () => {
  const at = new Date(5000);
  const job = (type: string, reason = '', annotations: Record<string, string> = {}, active = 0): V1Job => ({
    metadata: { annotations },
    status: { active, conditions: [{ type, status: 'True', reason, message: 'told', lastTransitionTime: at }] },
  });
  const pod = (terminated: object, status: object = {}): V1Pod =>
    ({
      status: { phase: 'Failed', containerStatuses: [{ state: { terminated } }], ...status },
    }) as V1Pod;
  assert.deepEqual(jobStatus({}, undefined).phase, 'starting');
  assert.deepEqual(jobStatus({}, { status: { phase: 'Running' } }).phase, 'running');
  assert.deepEqual(jobStatus(job('Complete'), undefined).phase, 'succeeded');
  assert.deepEqual(jobStatus(job('Failed', 'DeadlineExceeded'), undefined).phase, 'timedOut');
  for (const [found, reason, exitCode] of [
    [pod({ exitCode: 3, reason: 'Error' }), 'exit code 3', 3],
    [pod({ exitCode: 137, reason: 'OOMKilled' }), 'killed: out of memory', 137],
    [pod({ exitCode: 137, reason: 'Error' }), 'killed by SIGKILL', 137],
    [pod({ exitCode: 137 }, { reason: 'Evicted', message: 'disk pressure' }), 'evicted: disk pressure', 137],
    [undefined, 'told', null],
  ] as const) {
    const status = jobStatus(job('Failed', 'PodFailurePolicy'), found);
    assert.deepEqual([status.phase, status.reason, status.exitCode], ['failed', reason, exitCode]);
  }
  const ended = { 'switchyard.dev/ended-by': 'cancelled' };
  assert.equal(jobStatus(job('Suspended', '', ended, 1), undefined).phase, 'running');
  assert.equal(jobStatus(job('Suspended', '', ended), undefined).phase, 'cancelled');
  const other = jobStatus(job('Suspended', '', { 'switchyard.dev/ended-by': 'no image' }), undefined);
  assert.deepEqual([other.phase, other.reason], ['failed', 'no image']);
});

test('what keeps a pod from starting', () => {
  const waiting = (reason: string): V1Pod =>
    ({
      metadata: { creationTimestamp: new Date(0) },
      status: { containerStatuses: [{ image: 'a:1', state: { waiting: { reason, message: 'because' } } }] },
    }) as V1Pod;
  assert.equal(startProblem(waiting('ContainerCreating'), 1e9, 1000), '');
  assert.equal(startProblem(waiting('ErrImagePull'), 500, 1000), '');
  assert.equal(
    startProblem(waiting('ErrImagePull'), 1500, 1000),
    'image "a:1" cannot be pulled: ErrImagePull: because',
  );
  assert.match(startProblem(waiting('InvalidImageName'), 0, 1000), /InvalidImageName/);
  assert.equal(startProblem(undefined, 0, 0), '');
});

test('how a TrainJob and a Ray job stand', () => {
  const made = trainJobManifest(attempt({ nodes: 2 }), SETTINGS, 'torch', 0);
  assert.deepEqual((made.spec.trainer as { args: string[] }).args, ['torchrun', 'train.py', '--lr', '1']);
  assert.equal(trainJobStatus(made, undefined).phase, 'starting');
  const active = { name: 'node', ready: 0, succeeded: 0, failed: 0, active: 2 };
  assert.equal(trainJobStatus({ ...made, status: { jobsStatus: [active] } }, undefined).phase, 'running');
  const ray = { submission_id: 'a', message: null, error_type: null, start_time: 1, end_time: 2, metadata: null };
  assert.equal(rayStatus({ ...ray, status: 'STOPPED', driver_exit_code: null }, true).phase, 'timedOut');
  assert.equal(rayStatus({ ...ray, status: 'STOPPED', driver_exit_code: null }, false).phase, 'cancelled');
  assert.equal(rayStatus({ ...ray, status: 'FAILED', driver_exit_code: -9 }, false).reason, 'killed by SIGKILL');
  assert.equal(rayStatus({ ...ray, status: 'FAILED', driver_exit_code: 3 }, false).reason, exitReason(3));
});

test('a shell takes a command line apart into the words it was made of', () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.string().filter((word) => !word.includes('\0')),
        { minLength: 1, maxLength: 5 },
      ),
      (words) => {
        const line = `for word in ${shellLine(words)}; do printf '%s\\0' "$word"; done`;
        assert.deepEqual(execFileSync('sh', ['-c', line]).toString().split('\0').slice(0, -1), words);
      },
    ),
    { numRuns: 20, examples: [[["it's", '$(id)', '`id`', '; rm -rf /', '"', '\\', '']]] },
  );
});

test("a zip is read by Python's zipfile, the same files make the same bytes", () => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-zip-'));
  try {
    const files = { 'train.py': 'print("grüß")\n', 'lib/leer.py': '' };
    writeFileSync(join(folder, 'a.zip'), zip(files));
    execFileSync('python3', ['-m', 'zipfile', '-e', join(folder, 'a.zip'), join(folder, 'out')]);
    for (const [path, text] of Object.entries(files))
      assert.equal(readFileSync(join(folder, 'out', path), 'utf8'), text);
    assert.deepEqual(zip(files), zip(files));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('secrets are written over without moving what follows, and parts of logs fit together', () => {
  const log = Buffer.from('token hunter2 and hunter2.');
  const safe = masked(log, ['hunter2', '', 'and']);
  assert.equal(safe.toString(), 'token ******* and *******.');
  const first = slice(safe, 0, 10, true);
  const rest = slice(safe, first.next, 100, true);
  assert.deepEqual([first.end, rest.end, first.bytes.length + rest.bytes.length], [false, true, log.length]);
  assert.deepEqual(slice(safe, 100, 10, false), { bytes: Buffer.alloc(0), next: 100, end: false });
});
