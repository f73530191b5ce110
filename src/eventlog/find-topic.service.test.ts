import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { configSchema } from '../config/schema.ts';
import { ANY_TIME } from '../monitoring/record-search.ts';
import { createLogger } from '../telemetry/logging.ts';
import { service } from '../testing/kafka-consumer.ts';
import { logFigures, total } from '../testing/log-figures.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';
import { TopicRecords } from './find-topic.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-find-topic-'));
let server: ServerProcess | undefined;
after(async () => {
  await server?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');
const registry = service('SWITCHYARD_TEST_SCHEMA_REGISTRY_URL', '.ci/services/schema-registry.sh');
const WAIT_MS = 240_000;
const { logger } = createLogger({ thread: 'test' });
logger.level = 'silent';

for (const sink of [{ format: 'json' }, { format: 'avro', schemaRegistry: registry }, { layout: 'block' }])
  test(`a record is found on its model's topic by its id: ${sink.format ?? sink.layout}`, {
    timeout: 600_000,
  }, async () => {
    const kafka = { brokers: [broker], topicPrefix: `t${randomUUID()}.` };
    const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
    const file = join(scratch, `${randomUUID()}.yaml`);
    const createTopics = { partitions: 3 };
    const sinks = [{ name: 'kafka', kind: 'kafka', createTopics, ...sink }];
    writeFileSync(file, JSON.stringify({ kafka, eventLog: { enabled: true, sinks } }));
    const started = await ServerProcess.start(['--config', file, '--model-repository', root]);
    server = started;
    const ids: string[] = [];
    const begun = Date.now();
    for (let i = 0; i < 30; i++) {
      const body = JSON.stringify({ inputs: x(i) });
      const answer = await fetch(started.url('/v2/models/scale/infer'), { method: 'POST', body });
      assert.equal(answer.status, 200, await answer.text());
      ids.push(answer.headers.get('x-switchyard-id') as string);
    }
    await until('all is sent', async () => total(await logFigures(started), 'sink_sent_total') === 30, WAIT_MS);
    const settings = configSchema.parse({ kafka }).kafka;
    const topics = new TopicRecords(settings, () => ['scale', 'another'], logger);
    for (const range of [ANY_TIME, { from: begun - 1000, to: Date.now() + 1000 }]) {
      const found = await topics.find(ids[17], range);
      assert.deepEqual(found.problems, []);
      assert.deepEqual([found.found?.id, found.found?.model, found.found?.version], [ids[17], 'scale', '1']);
      const { features } = JSON.parse(found.json) as { features: { name: string; data: number[] }[] };
      assert.deepEqual([features[0].name, features[0].data], ['x', [17]]);
      assert.match(found.place, /scale\.inference\/\d, offset \d+$/);
    }
    const nobody = await topics.find('nobody', ANY_TIME);
    assert.deepEqual([nobody.found, nobody.problems], [undefined, []]);
    assert.deepEqual(nobody.searched, [`topic ${kafka.topicPrefix}scale.inference`], 'read to the end');
    await started.stop();
  });

test('brokers that are away are a problem that is told, no error', async () => {
  const settings = configSchema.parse({ kafka: { brokers: ['127.0.0.1:9'], connectTimeoutMs: 500 } }).kafka;
  const { found, problems } = await new TopicRecords(settings, () => ['m'], logger).find('a', ANY_TIME);
  assert.equal(found, undefined);
  assert.match(problems[0], /the topics cannot be read: /);
});
