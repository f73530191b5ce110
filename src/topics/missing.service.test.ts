import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { kafkaClients } from '../kafka/client.ts';
import { TopicWriter } from '../kafka/dead-letters.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

/** Of its own: this one makes no topics. */
const PORT = 19_792;
const broker = async (verb: string): Promise<string> =>
  (
    await promisify(execFile)('.ci/services/kafka.sh', [verb, String(PORT)], {
      env: { ...process.env, KAFKA_AUTO_CREATE: 'false' },
    })
  ).stdout.trim();
const scratch = mkdtempSync(join(tmpdir(), 'switchyard-missing-'));
let server: ServerProcess | undefined;
after(async () => {
  await server?.stop();
  await broker('stop');
  rmSync(scratch, { recursive: true, force: true });
});

test('requests wait for topics that are not there, which are named, and none is inferred in vain', {
  timeout: 600_000,
}, async (t) => {
  const kafka = { brokers: [await broker('start')], topicPrefix: 'missing.' };
  const clients = await kafkaClients(kafkaSchema.parse(kafka), pino({ level: 'silent' }));
  const admin = clients.admin();
  await admin.connect();
  t.after(() => admin.disconnect());
  const make = (name: string) =>
    admin.createTopics({ topics: [{ topic: clients.topic(name), numPartitions: 1 }], waitForLeaders: true });
  await make('asks');
  const producer = clients.producer();
  await producer.connect();
  t.after(() => producer.disconnect());
  const ask = (i: number) => ({ value: JSON.stringify({ id: `r${i}`, inputs: x(i) }) });
  const poison = { value: 'no JSON' };
  const topic = clients.topic('asks');
  await producer.send({ topic, messages: [ask(0), ask(1), poison, ask(2)] });

  const writer = new TopicWriter();
  t.after(() => writer.close());
  await assert.rejects(writer.send(clients, 'answers', [poison]), {
    code: 'failed_precondition',
    message: 'Kafka has no topic "missing.answers", and does not make it; create it',
  });

  const file = join(scratch, 'switchyard.yaml');
  const models = { repositories: [scriptRepository(scratch, { scale: { versions: { 1: times(10) } } })] };
  const inference = [{ requests: 'asks', results: 'answers', model: 'scale' }];
  const threads = { gateways: 1, executors: 1 };
  writeFileSync(file, JSON.stringify({ models, threads, kafka: { ...kafka, inference } }));
  const started = await ServerProcess.start(['--config', file, '--no-supervise']);
  server = started;
  const told = () => started.log.filter(({ msg }) => msg === 'requests wait').map(({ reason }) => String(reason));
  const inferred = async () => {
    const text = await (await fetch(`http://127.0.0.1:${started.ports.metrics}/metrics`)).text();
    return Number(/^nv_inference_count\{model="scale",version="1"\} (\d+)$/m.exec(text)?.[1] ?? 0);
  };
  await until('they are told to wait', () => told().length === 1);
  assert.match(told()[0], /^Kafka has no topic "missing\.answers" and "missing\.asks\.dead-letters", .*create it$/);
  await make('answers');
  await until('the other is told', () => told().length === 2);
  assert.match(told()[1], /^Kafka has no topic "missing\.asks\.dead-letters", /);
  assert.equal(await inferred(), 0);
  await make('asks.dead-letters');
  const ends = async (name: string) => Number((await admin.fetchTopicOffsets(clients.topic(name)))[0].high);
  await until('all are answered', async () => (await ends('answers')) === 3);
  assert.equal(await ends('asks.dead-letters'), 1);
  assert.equal(await inferred(), 3);

  // One that is deleted meanwhile is missed, too.
  await admin.deleteTopics({ topics: [clients.topic('answers')] });
  await producer.send({ topic, messages: [ask(3)] });
  await until('it is told', () => told().length === 3);
  assert.match(told()[2], /^Kafka has no topic "missing\.answers", /);
  await make('answers');
  await until('it is answered', async () => (await ends('answers')) === 1);
});
