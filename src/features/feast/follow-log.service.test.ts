import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { document } from '../../testing/features.ts';
import { service } from '../../testing/kafka-consumer.ts';
import { logFigures, total } from '../../testing/log-figures.ts';
import { scriptRepository, until } from '../../testing/script-models.ts';
import { infer, ServerProcess } from '../../testing/server-process.ts';

const run = promisify(execFile);
const DRIVERS = 12;
const FEATURES = ['conv_rate', 'trips'];
const JOIN =
  "{entities: {driver_id: driver}, missing: reject, inputs: {x: ['driver_stats:conv_rate', 'driver_stats:trips']}}";
const DOCUMENTS = [
  document('Entity', 'driver', { joinKey: 'driver_id' }),
  document('FeatureView', 'driver_stats', {
    entities: ['driver'],
    ttl: '1d',
    features: [
      { name: 'conv_rate', type: 'float32' },
      { name: 'trips', type: 'int64' },
    ],
  }),
];

/** The files of a Feast project as docs/features.md has them, each a code block that begins with its name. */
function documentedFiles(folder: string): void {
  const page = readFileSync(new URL('../../../docs/features.md', import.meta.url), 'utf8');
  mkdirSync(folder);
  for (const name of ['feature_store.yaml', 'definitions.py', 'follow.py']) {
    const block = page.split('```').find((part) => part.split('\n')[1] === `# ${name}`);
    assert.ok(block, `docs/features.md has a block ${name}`);
    writeFileSync(join(folder, name), block.slice(block.indexOf('\n') + 1));
  }
}

test('the documented Feast project follows the event log, and serves what the gateway serves', {
  timeout: 600_000,
}, async (t) => {
  const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
  const python = service('SWITCHYARD_TEST_FEAST_PYTHON', '.ci/clients/feast/setup.sh');
  const scratch = mkdtempSync(join(tmpdir(), 'switchyard-follow-'));
  t.after(() => rmSync(scratch, { recursive: true, force: true }));
  const repository = scriptRepository(scratch, {
    scale: { versions: { 1: 'export const execute = ({ x }) => ({ y: x });\n' } },
  });
  writeFileSync(
    join(repository, 'scale', 'config.pbtxt'),
    `backend: "javascript"\nmax_batch_size: 8\ninput [{name: "x" data_type: TYPE_FP32 dims: [2]}]\noutput [{name: "y" data_type: TYPE_FP32 dims: [2]}]\nparameters { key: "switchyard.features" value { string_value: "${JOIN}" } }\n`,
  );
  const prefix = `t${randomUUID()}.`;
  const file = join(scratch, 'switchyard.yaml');
  writeFileSync(join(scratch, 'features.yaml'), DOCUMENTS.map((each) => JSON.stringify(each)).join('\n---\n'));
  writeFileSync(
    file,
    JSON.stringify({
      models: { repositories: [repository] },
      features: { files: ['features.yaml'] },
      kafka: { brokers: [broker], topicPrefix: prefix },
      eventLog: { enabled: true, rule: { entity: { input: 'driver' } }, sinks: [{ name: 'kafka', kind: 'kafka' }] },
      threads: { gateways: 1, executors: 1 },
    }),
  );
  const server = await ServerProcess.start(['--config', file, '--no-supervise']);
  t.after(() => server.stop());
  const drivers = Array.from({ length: DRIVERS }, (_, i) => i + 1);
  const push = async (ids: readonly number[], shift: number) => {
    const df = {
      driver_id: ids,
      event_timestamp: ids.map(() => new Date().toISOString()),
      conv_rate: ids.map((id) => id / 7 + shift),
      trips: ids.map((id) => id * 1000 + shift),
    };
    const response = await fetch(server.url('/push'), {
      method: 'POST',
      body: JSON.stringify({ push_source_name: 'driver_stats', df }),
    });
    assert.equal(response.status, 200, await response.text());
  };
  const ask = async (ids: readonly number[]) => {
    const driver = { name: 'driver', shape: [ids.length, 1], datatype: 'INT64', data: [...ids] };
    const { status, body } = await infer(server, 'scale', [driver]);
    assert.equal(status, 200, body.error);
  };
  const served = async (ids: readonly number[]): Promise<unknown[][]> => {
    const body = { features: FEATURES.map((name) => `driver_stats:${name}`), entities: { driver_id: ids } };
    const response = await fetch(server.url('/get-online-features'), { method: 'POST', body: JSON.stringify(body) });
    const { results } = (await response.json()) as { results: { values: unknown[] }[] };
    return results.slice(1).map(({ values }) => values);
  };
  await push(drivers, 0);
  await until('the rows are online', async () => (await served([DRIVERS]))[1][0] === DRIVERS * 1000);
  for (let from = 0; from < DRIVERS; from += 4) await ask(drivers.slice(from, from + 4));
  // Half of them change and are asked for again, each by itself; a request for a driver that nobody knows is refused.
  const changed = drivers.filter((id) => id % 2 === 0);
  await push(changed, 3);
  await until('the newer rows are online', async () => (await served([DRIVERS]))[1][0] === DRIVERS * 1000 + 3);
  for (const id of changed) await ask([id]);
  const unknown = { name: 'driver', shape: [1, 1], datatype: 'INT64', data: [999] };
  assert.equal((await infer(server, 'scale', [unknown])).status, 400);
  const records = DRIVERS / 4 + changed.length + 1;
  await until('all is sent', async () => total(await logFigures(server), 'sink_sent_total') === records);

  const folder = join(scratch, 'feast');
  documentedFiles(folder);
  const env = {
    ...process.env,
    FEAST_USAGE: 'False',
    BROKERS: broker,
    TOPIC: `${prefix}scale.inference`,
    STOP_WHEN_IDLE_SECONDS: '30',
  };
  await run(join(dirname(python), 'feast'), ['apply'], { cwd: folder, env });
  await run(python, ['follow.py'], { cwd: folder, env });
  const entities = JSON.stringify([...drivers, 999].map((id) => ({ driver_id: id })));
  const names = FEATURES.map((name) => `driver_stats:${name}`);
  const { stdout } = await run(python, ['.ci/clients/feast/project.py', 'read', folder, entities, ...names], { env });
  const theirs = JSON.parse(stdout.trim().split('\n').at(-1) as string) as Record<string, (number | null)[]>;
  const ours = await served([...drivers, 999]);
  assert.deepEqual(
    FEATURES.map((name) => theirs[name].map((value) => (value === null ? null : Math.fround(value)))),
    ours.map((values) => values.map((value) => (value === null ? null : Math.fround(value as number)))),
  );
  assert.equal(ours[1][1], 2003);
  assert.equal(ours[1].at(-1), null);
});
