import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { logFigures, total } from '../../testing/log-figures.ts';
import { scriptRepository, times, until, x } from '../../testing/script-models.ts';
import { ServerProcess } from '../../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-tenants-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const ROUTE = `apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    bandit: {arms: [stable, next], policy: epsilonGreedy, epsilon: 0.2, reward: {wait: 10m, default: 0, aggregate: first}}
`;
const MONITOR = {
  ...{ apiVersion: 'switchyard/v1', kind: 'Monitor', metadata: { name: 'quality' } },
  spec: {
    model: 'm',
    reference: { records: 100 },
    quality: { prediction: 'outputs.y', window: { rows: 100 }, metrics: [{ metric: 'accuracy', min: 0.5 }] },
  },
};

interface Answer {
  accepted: number;
  recorded: number;
  results: { id: string; result: string }[];
}

test('rewards and labels of one tenant say nothing of the requests of another', async () => {
  const root = scriptRepository(scratch, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  writeFileSync(join(scratch, 'routes.yaml'), ROUTE);
  writeFileSync(join(scratch, 'monitor.yaml'), JSON.stringify(MONITOR));
  const keys = ['a', 'b'].map((tenant) => ({ tenant, sha256: createHash('sha256').update(tenant).digest('hex') }));
  const config = {
    models: { repositories: [root] },
    routes: { files: ['routes.yaml'] },
    threads: { gateways: 1, executors: 1 },
    admission: { apiKeys: keys },
    eventLog: { enabled: true },
    monitoring: { files: ['monitor.yaml'] },
  };
  const file = join(scratch, 'switchyard.yaml');
  writeFileSync(file, JSON.stringify(config));
  const server = await ServerProcess.start(['--config', file, '--no-supervise']);
  after(() => server.stop());
  const admin = `http://127.0.0.1:${server.ports.admin}/api/v1`;

  const ask = async (tenant: string): Promise<string> => {
    const response = await fetch(server.url('/v2/models/m/infer'), {
      method: 'POST',
      headers: { authorization: `Bearer ${tenant}` },
      body: JSON.stringify({ inputs: x(1) }),
    });
    assert.equal(response.status, 200, await response.text());
    return String(response.headers.get('x-switchyard-id'));
  };
  const post = async (url: string, headers: Record<string, string>, events: object[]): Promise<Answer> => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ events }),
    });
    assert.equal(response.status, 200);
    return (await response.json()) as Answer;
  };
  const tell = (tenant: string, ...events: object[]): Promise<Answer> =>
    post(server.url('/switchyard/v1/feedback'), { authorization: `Bearer ${tenant}` }, events);
  const resultsOf = ({ results }: Answer): string[] => results.map(({ result }) => result);
  const labels = async (): Promise<{ total: number; unmatched: number }> =>
    ((await (await fetch(`${admin}/monitors/quality`)).json()) as { labels: never }).labels;

  await until('the monitor counts', () => existsSync(join(server.dataDir, 'eventlog/monitor-labels.db')));
  const [first, second] = [await ask('a'), await ask('a')];
  await until('both are in the log', async () => total(await logFigures(server), 'spooled_total') === 2);

  // Nobody learns from it: the log alone keeps it, with the tenant that sent it.
  const foreign = await tell('b', { id: first, reward: 1, label: 1, model: 'm' }, { id: 'nobody-1', reward: 1 });
  assert.deepEqual(resultsOf(foreign), ['recorded', 'recorded'], 'no answer tells whether there is such a request');
  const own = await tell('a', { id: first, reward: 1, label: 1, model: 'm' });
  assert.deepEqual(resultsOf(own), ['accepted'], 'the foreign one did not come first');
  await until('both are counted', async () => {
    const { total, unmatched } = await labels();
    return total === 1 && unmatched === 1;
  });

  const operator = await post(`${admin}/feedback`, {}, [{ id: second, reward: 1, label: 1, model: 'm' }]);
  assert.deepEqual(resultsOf(operator), ['accepted'], 'who may use the admin port speaks for all tenants');
  await until('the label counts', async () => (await labels()).total === 2);
  const metrics = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
  assert.match(metrics, /^switchyard_feedback_unmatched_total\{result="unknown"\} 2$/m);
  assert.match(metrics, /^switchyard_route_feedback_total\{route="m",result="accepted"\} 2$/m);

  // The log itself keeps who told.
  assert.equal(total(await logFigures(server), 'feedback_total'), 4);
  const { records } = (await (await fetch(`${admin}/log/records?limit=10`)).json()) as {
    records: Record<string, unknown>[];
  };
  const tenants = records.filter(({ rewards }) => rewards !== undefined).map(({ tenant }) => tenant);
  assert.deepEqual(tenants, ['b', 'b', 'a', '']);
});
