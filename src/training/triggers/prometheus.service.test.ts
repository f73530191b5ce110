import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { PipelinesUnderTest } from '../../testing/pipelines.ts';
import { steadyPorts } from '../../testing/ports.ts';

test('a query of Prometheus that crosses a value starts a run', { timeout: 600_000 }, async () => {
  const program = process.env.SWITCHYARD_TEST_PROMETHEUS;
  assert.ok(program, 'SWITCHYARD_TEST_PROMETHEUS must name the program prometheus: apt-get install prometheus');
  const under = await PipelinesUnderTest.open();
  const [port] = await steadyPorts(1);
  const config = join(under.folder, 'prometheus.yml');
  writeFileSync(config, 'global: {}\n');
  const options = [`--config.file=${config}`, `--storage.tsdb.path=${under.folder}/tsdb`];
  const child = spawn(program, [...options, `--web.listen-address=127.0.0.1:${port}`], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  try {
    const address = `http://127.0.0.1:${port}`;
    while ((await fetch(`${address}/-/ready`).catch(() => undefined))?.ok !== true) await sleep(100);
    writeFileSync(join(under.folder, 'data.csv'), 'a,label\n1,0\n');
    const body = (kind: 'Pipeline' | 'Trigger', name: string, spec: object) => ({
      kind,
      name,
      body: { apiVersion: 'switchyard/v1', kind, metadata: { name }, spec },
    });
    const trigger = (query: string) => {
      const business = { op: '>', value: 0.5, every: '1s', prometheus: { address, query } };
      return { pipeline: 'small', when: { business }, debounce: '0s' };
    };
    await under.pipelines.change(
      [
        body('Pipeline', 'small', { steps: [{ name: 'data', ingest: { source: 'data.csv' } }] }),
        body('Trigger', 'low', trigger('vector(0.25)')),
        body('Trigger', 'high', trigger('sum(vector(0.5) + vector(0.25))')),
        body('Trigger', 'nothing', trigger('no_such_series')),
      ],
      false,
    );
    const triggers = await under.pipelines.triggers();
    let run: string | null = null;
    while (run === null) {
      await sleep(100);
      run = (await triggers.get('high')).last_run;
    }
    const view = await under.over(run);
    assert.equal(view.status, 'succeeded');
    assert.equal(view.cause, 'sum(vector(0.5) + vector(0.25)) is 0.75: > 0.5');
    assert.deepEqual([(await triggers.get('low')).last_run, (await triggers.get('nothing')).last_run], [null, null]);
  } finally {
    child.kill('SIGKILL');
    await ended;
    await under.close();
  }
});
