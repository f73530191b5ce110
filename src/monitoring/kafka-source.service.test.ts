import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import type { Message } from 'kafkajs';
import { pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { containerOf } from '../eventlog/encode/container.ts';
import { recordJson } from '../eventlog/encode/json.ts';
import { feedbackOfMessage, recordsOfMessage } from '../eventlog/encode/message-reader.ts';
import { decodeRecord } from '../eventlog/encode/record-decoder.ts';
import { kafkaClients } from '../kafka/client.ts';
import { service } from '../testing/kafka-consumer.ts';
import { finishedRequest, LogLoop } from '../testing/log-records.ts';
import { until } from '../testing/script-models.ts';
import { monitorSchema } from './document.ts';
import { KafkaSource } from './kafka-source.ts';
import { MonitorStream } from './stream.ts';
import type { Reference } from './types.ts';

const broker = service('SWITCHYARD_TEST_KAFKA_URL', '.ci/services/kafka.sh');

test('monitors read every form of the topics, and a wrong message costs no other', { timeout: 300_000 }, async (t) => {
  const topicPrefix = `monitors-${randomUUID().slice(0, 8)}.`;
  const log = pino({ level: 'silent' });
  const config = kafkaSchema.parse({ brokers: [broker], topicPrefix, clientId: topicPrefix });
  const loop = new LogLoop();
  const finish = (id: string): Uint8Array => {
    loop.tap.finished(finishedRequest({ id }));
    return loop.take()[0];
  };
  const { model } = decodeRecord(finish('first'));
  const references: Reference[] = [];
  const stream = new MonitorStream((event) => {
    if (event.kind === 'reference') references.push(event.reference);
  });
  const { spec } = monitorSchema.parse({
    apiVersion: 'switchyard/v1',
    kind: 'Monitor',
    metadata: { name: 'm' },
    spec: { model, reference: { records: 1000 } },
  });
  stream.set([{ name: 'm', spec, generation: 0, references: [] }]);
  const reader = { records: recordsOfMessage, feedback: feedbackOfMessage };
  const source = new KafkaSource(config, 'monitors', stream, reader, log);
  t.after(() => source.close());
  source.follow([model]);

  const clients = await kafkaClients(config, log);
  const producer = clients.producer();
  await producer.connect();
  t.after(() => producer.disconnect());
  let count = 0;
  const next = (): Uint8Array => finish(`r${count++}`);
  const json = (bytes: Uint8Array): Message => ({ value: recordJson(decodeRecord(bytes)) });
  const avro = (bytes: Uint8Array): Message => ({
    value: Buffer.concat([Buffer.alloc(5), bytes]),
    headers: { 'content-type': 'application/avro' },
  });
  const block = (list: Uint8Array[]): Message => ({
    value: containerOf(
      list.map((u8) => ({ u8, start: 0, end: u8.length })),
      'inference',
    ),
    headers: { 'switchyard-records': String(list.length) },
  });
  const noShape = (): Message => ({ value: String(json(next()).value).replace(/"shape":\[[\d,]*\],/g, '') });
  const send = (...messages: Message[]) => producer.send({ topic: clients.topic(`${model}.inference`), messages });
  // It begins with what comes: until it has joined, nothing is seen.
  await until('it reads', async () => {
    await send({ value: 'no JSON' });
    return source.counts.unreadable > 0;
  });
  const before = source.counts.unreadable;
  const wrong = [noShape(), { value: 'no JSON' }, { value: null }, { ...avro(next()), value: Buffer.alloc(9) }];
  for (let i = 0; i < 5; i++)
    await send(
      ...Array.from({ length: 50 }, () => json(next())),
      ...wrong,
      ...Array.from({ length: 50 }, () => avro(next())),
      block(Array.from({ length: 101 }, next)),
    );
  await until('the reference is frozen from all of them', () => references.length === 1, 120_000);
  await until('what is wrong is counted', () => source.counts.unreadable >= before + 5 * wrong.length, 120_000);
  assert.equal(source.counts.read, 5 * (50 + 50 + 1));
  assert.equal(references[0].slices[''].rows, 1000);
});
