import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { JobsApi } from '../client/jobs.ts';
import { cli } from '../testing/cli.ts';
import { steadyPorts } from '../testing/ports.ts';
import { ServerProcess } from '../testing/server-process.ts';
import { scriptJob } from '../testing/training.ts';
import { marked } from './runners/process/proc.ts';

const TOKEN = 'correct-horse-battery-staple';
const folder = mkdtempSync(join(tmpdir(), 'training-'));
after(() => rmSync(folder, { recursive: true, force: true }));

describe('the built program, killed while a job runs', { timeout: 600_000 }, () => {
  test('the same job goes on, is taken up by the next server, and ends once', async () => {
    // Jobs keep the address they were given: the server comes back at the same one.
    const [port] = await steadyPorts(1);
    const config = join(folder, 'switchyard.yaml');
    writeFileSync(config, `server: {adminToken: ${TOKEN}}\n`);
    const start = (): Promise<ServerProcess> =>
      ServerProcess.start(['--config', config, '--admin-port', String(port)], { dataDir: join(folder, 'data') });
    const url = `http://127.0.0.1:${port}`;
    const api = new JobsApi({ url, token: TOKEN });
    // It reports by MLflow's REST as well, with its own token, and tries again while nobody answers.
    const report = `until curl -sf -X POST "$MLFLOW_TRACKING_URI/api/2.0/mlflow/runs/log-metric" -H "Authorization: Bearer $MLFLOW_TRACKING_TOKEN" -d "{\\"run_id\\":\\"$MLFLOW_RUN_ID\\",\\"key\\":\\"own\\",\\"value\\":$i,\\"timestamp\\":$i,\\"step\\":$i}" > /dev/null; do sleep 0.2; done`;
    const script = `echo begun >> "$OUT"\nfor i in 1 2 3 4 5 6 7 8; do echo "loss=0.$i step=$i"; ${report}; sleep 0.4; done\necho done`;
    const out = join(folder, 'begun');
    const document = scriptJob(script, { env: { OUT: out }, idempotencyKey: 'once', heartbeatSeconds: 60 });

    let server = await start();
    try {
      const { id } = await api.submit(document, 'test');
      while ((await api.get(id)).metrics.own === undefined) await sleep(50);
      await server.kill();
      assert.ok(marked(`sy-${id}-1`).length > 0, 'the job goes on without its server');
      server = await start();
      const lines: string[] = [];
      for await (const event of api.follow(id)) if (event.type === 'log') lines.push(event.text);
      const job = await api.get(id);
      assert.deepEqual([job.status, job.attempt, job.reason], ['succeeded', 1, '']);
      assert.deepEqual(job.metrics, { loss: 0.8, own: 8 });
      assert.equal(lines.join(''), `${[1, 2, 3, 4, 5, 6, 7, 8].map((i) => `loss=0.${i} step=${i}\n`).join('')}done\n`);
      assert.equal((await api.submit(document, 'again')).id, id);
      assert.equal((await api.list({})).jobs.length, 1);
      assert.equal(readFileSync(out, 'utf8'), 'begun\n');
      assert.deepEqual(marked(`sy-${id}-1`), []);
    } finally {
      await server.stop();
    }
  });

  test('the command line: submit and wait, list, get, logs, cancel; exit codes follow the end', async () => {
    const config = join(folder, 'plain.yaml');
    writeFileSync(config, 'training: {process: {cpu: 4}}\n');
    const server = await ServerProcess.start(['--config', config]);
    try {
      const at = ['--admin', `http://127.0.0.1:${server.ports.admin}`];
      const file = (name: string, script: string): string => {
        const path = join(folder, `${name}.yaml`);
        writeFileSync(path, JSON.stringify(scriptJob(script, {}, name)));
        return path;
      };
      const good = await cli(['jobs', 'submit', '-w', file('good', 'echo "loss=0.5"'), ...at]);
      assert.equal(good.code, 0, good.err);
      assert.match(good.out, /^\S+ good is queued\nloss=0\.5$/);
      assert.match(good.err, /is succeeded$/);
      const bad = await cli(['jobs', 'submit', '-w', file('bad', 'echo oh no; exit 5'), ...at]);
      assert.equal(bad.code, 1);
      assert.match(bad.err, /is failed: exit code 5; next: read the end of the log/);
      const submitted = await cli(['jobs', 'submit', '-o', 'json', file('long', 'echo up; sleep 300'), ...at]);
      const [{ id }] = JSON.parse(submitted.out) as { id: string }[];
      assert.equal((await cli(['jobs', 'get', id, ...at])).code, 4);
      // Cancelled before, it would have nothing to say.
      while ((await cli(['jobs', 'logs', id, ...at])).out !== 'up') await new Promise((next) => setTimeout(next, 100));
      const list = await cli(['jobs', 'list', ...at]);
      assert.match(list.out, /^ID +NAME +STATUS +PROGRESS +ATTEMPT +AGE +REASON\n.* long /);
      assert.equal((await cli(['jobs', 'cancel', id, '--reason', 'enough', ...at])).code, 0);
      const end = await cli(['jobs', 'logs', '-f', id, ...at]);
      assert.deepEqual([end.code, marked(`sy-${id}-1`)], [3, []]);
      assert.match((await cli(['jobs', 'get', id, ...at])).out, /cancelled by operator: enough/);
      assert.equal((await cli(['jobs', 'logs', id, ...at])).out, 'up');
      assert.equal((await cli(['jobs', 'delete', id, ...at])).out, `deleted ${id}`);
      assert.match((await cli(['jobs', 'get', id, ...at])).err, /no such job/);
      assert.equal((await cli(['jobs', 'submit', '--dry-run', file('dry', 'true'), ...at])).out, 'no problems in dry');
      writeFileSync(
        join(folder, 'evil.yaml'),
        'apiVersion: switchyard/v1\nkind: Job\nmetadata: {name: x}\nspec:\n  command: [echo, "$(id)"]\n',
      );
      const evil = await cli(['jobs', 'validate', join(folder, 'evil.yaml')]);
      assert.equal(evil.code, 1);
      assert.match(evil.err, /evil\.yaml:5:19: spec\.command\.1: "\$\(id\)" holds "\$\("/);
    } finally {
      await server.stop();
    }
  });
});
