import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { consumeAll, service } from '../testing/kafka-consumer.ts';
import { logFigures, total, unaccounted } from '../testing/log-figures.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-kafka-log-'));
const running = new Set<ServerProcess>();
after(async () => {
  await Promise.all([...running].map((server) => server.stop()));
  rmSync(scratch, { recursive: true, force: true });
});

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const registry = service('SWITCHYARD_TEST_SCHEMA_REGISTRY_URL', '.ci/services/schema-registry.sh');

async function start(sink: object, rule: object = {}, prefix = `t${randomUUID()}.`) {
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  const file = join(scratch, `${randomUUID()}.yaml`);
  const settings = {
    kafka: { brokers: [broker], topicPrefix: prefix },
    eventLog: { enabled: true, rule, sinks: [{ name: 'kafka', kind: 'kafka', ...sink }] },
  };
  writeFileSync(file, JSON.stringify(settings));
  const server = await ServerProcess.start(['--config', file, '--model-repository', root]);
  running.add(server);
  return { server, prefix };
}

const RECORDS = 200;
const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';

for (const sink of [
  { format: 'json' },
  { format: 'avro', schemaRegistry: registry },
  { layout: 'block', compression: 'none', createTopics: { partitions: 2 } },
] as const) {
  const framing = 'layout' in sink ? 'block' : sink.format;
  test(`confluent-kafka reads and decodes every record: ${framing}`, { timeout: 600_000 }, async () => {
    const { server, prefix } = await start(sink, { entity: { input: 'x' } });
    for (let i = 0; i < RECORDS; i++)
      assert.equal((await infer(server, 'scale', x(i), { traceparent: TRACE })).status, 200);
    assert.equal((await infer(server, 'nowhere', x(1))).status, 404);
    await fetch(server.url('/switchyard/v1/feedback'), {
      method: 'POST',
      body: JSON.stringify({ id: 'some-id', reward: 1, label: 'b', model: 'scale' }),
    });
    await until('all is sent', async () => total(await logFigures(server), 'sink_sent_total') === RECORDS + 2);
    assert.deepEqual(new Set(Object.values(unaccounted(await logFigures(server)))), new Set([0]));
    const topics = [`${prefix}scale.inference`, `${prefix}unmatched.inference`, `${prefix}scale.feedback`];
    const consumed = await consumeAll(broker, topics, framing === 'avro' ? registry : undefined);
    assert.deepEqual(new Set(consumed.map((each) => each.framing)), new Set([framing]));
    const records = consumed.filter(({ topic }) => topic === topics[0]);
    assert.equal(new Set(records.map(({ record }) => record.id)).size, RECORDS);
    assert.equal(records.length, RECORDS);
    for (const { record, key, headers } of records) {
      const [feature] = record.features as { name: string; data?: number[]; floats?: number[] }[];
      assert.equal(feature.name, 'x');
      const [value] = (feature.data ?? feature.floats) as number[];
      assert.equal(record.entity, String(value));
      assert.equal(record.traceparent, TRACE);
      if (framing === 'block') continue;
      assert.equal(key, record.entity);
      assert.equal(headers.ce_id, record.id);
      assert.equal(headers.ce_type, 'dev.switchyard.inference');
      assert.equal(headers.ce_specversion, '1.0');
      assert.equal(headers.traceparent, TRACE);
    }
    const values = records.map(({ record }) => Number(record.entity)).sort((a, b) => a - b);
    assert.deepEqual(
      values,
      Array.from({ length: RECORDS }, (_, i) => i),
    );
    assert.deepEqual(
      consumed.filter(({ topic }) => topic === topics[1]).map(({ record }) => [record.status, record.requestedModel]),
      [['not_found', 'nowhere']],
    );
    const feedback = consumed.find(({ topic }) => topic === topics[2]);
    assert.equal(feedback?.record.id, 'some-id');
    assert.deepEqual(feedback?.record.rewards, { reward: 1 });
    assert.equal(
      feedback?.headers.ce_id,
      `some-id/${feedback?.record.event}`,
      'two events of a request are told apart',
    );
    running.delete(server);
    await server.stop();
  });
}

test('a schema registry that is away holds records back, and nothing else', { timeout: 600_000 }, async () => {
  const { server } = await start({ format: 'avro', schemaRegistry: 'http://127.0.0.1:9' });
  for (let i = 0; i < 5; i++) assert.equal((await infer(server, 'scale', x(i))).status, 200);
  await until('the sink failed', async () => total(await logFigures(server), 'sink_errors_total') > 1);
  const figures = await logFigures(server);
  assert.equal(total(figures, 'sink_backlog_records'), 5);
  assert.equal(total(figures, 'spooled_total'), 5);
  assert.deepEqual(new Set(Object.values(unaccounted(figures))), new Set([0]));
  running.delete(server);
  await server.stop();
});
