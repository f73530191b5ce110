import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { startAdminServer } from '../admin/server.ts';
import type { PipelineRun } from '../client/pipelines.ts';
import { fakeAdmin } from '../testing/admin-services.ts';
import { cli } from '../testing/cli.ts';
import { changedLines, renderRun } from './pipelines-view.ts';

const folder = mkdtempSync(join(tmpdir(), 'cli-pipelines-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string, text: string): string => {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
};
const GOOD =
  'apiVersion: switchyard/v1\nkind: Pipeline\nmetadata: {name: p}\nspec: {steps: [{name: a, ingest: {source: a.csv}}]}\n';

test('validate names the place of a mistake and ends with 1', async () => {
  const good = await cli(['pipelines', 'validate', file('good.yaml', GOOD)]);
  assert.equal(good.code, 0);
  assert.match(good.out, /1 pipelines, 0 environments and 0 triggers, no problems/);
  const bad = await cli(['pipelines', 'validate', file('bad.yaml', GOOD.replace('a.csv', '[]'))]);
  assert.equal(bad.code, 1);
  assert.match(bad.err, /bad.yaml:4:\d+: spec.steps.0.ingest.source: /);
});

test('a pipeline of a file travels whole, with its parameters', async () => {
  const fake = fakeAdmin();
  const admin = await startAdminServer(fake.services, { ...fake.services.config().server, adminPort: 0 });
  const url = `http://127.0.0.1:${admin.port}`;
  try {
    const begun = await cli([
      'pipelines',
      'run',
      file('good.yaml', GOOD),
      '-p',
      'x=1',
      '--env',
      'e',
      '--detach',
      '--admin',
      url,
    ]);
    assert.equal(begun.code, 0, begun.err);
    assert.match(begun.out, /^0123456789abcdef$/m);
    const [{ pipeline, parameters, environment }] = fake.calls[0].args as [
      { pipeline: { kind: string }; parameters: object; environment: string },
    ];
    assert.equal(pipeline.kind, 'Pipeline');
    assert.deepEqual(parameters, { x: '1' });
    assert.equal(environment, 'e');
    const wrong = await cli(['pipelines', 'run', 'p', '-p', 'x', '--admin', url]);
    assert.equal(wrong.code, 2);
    assert.match(wrong.err, /--param "x" is not allowed; write name=value/);
  } finally {
    await admin.close(0);
  }
});

const run = (status: string, steps: [string, string, string][]): PipelineRun => ({
  id: 'r1',
  pipeline: 'p',
  environment: 'development',
  status,
  reason: '',
  actor: 'a',
  cause: '',
  run_id: '',
  created_at: 0,
  ended_at: status === 'running' ? null : 5000,
  next_step: 'mend it',
  steps: steps.map(([name, state, reason]) => ({
    name,
    kind: 'ingest',
    status: state,
    reason,
    job_id: null,
    run_id: null,
    started_at: state === 'waiting' ? null : 0,
    ended_at: state === 'succeeded' || state === 'failed' ? 1500 : null,
    outputs: {},
  })),
});

test('progress is a table on a terminal, and a line for each change elsewhere', () => {
  const before = run('running', [
    ['a', 'running', ''],
    ['b', 'waiting', ''],
  ]);
  const now = run('failed', [
    ['a', 'succeeded', '7 rows'],
    ['b', 'failed', 'no such file\nmore'],
  ]);
  assert.deepEqual(changedLines(before, now, 9), [
    '✓ a: succeeded in 1.5 s: 7 rows',
    '✗ b: failed in 1.5 s: no such file',
  ]);
  const text = renderRun(now, 9);
  assert.match(text, /p in development: failed, 1 of 2 steps, 5.0 s \(run r1\)/);
  assert.match(text, /b: no such file\nmore\nnext: mend it/);
  assert.match(renderRun(before, 3000), /▸ a +ingest +running +3.0 s/);
});
