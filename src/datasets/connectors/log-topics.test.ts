import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Admin, Consumer, ConsumerRunConfig } from 'kafkajs';
import { datasetsSchema } from '../../config/datasets-schema.ts';
import { recordJson } from '../../eventlog/encode/json.ts';
import { MESSAGES } from '../../eventlog/encode/message-reader.ts';
import type { FeedbackRecord, LogRecord } from '../../eventlog/record.ts';
import type { KafkaClients } from '../../kafka/client.ts';
import { collect } from '../batch.ts';
import { Connectors, originOf } from './connectors.ts';
import { withUnmatched } from './log-topics.ts';

/** Brokers with topics of one partition, which hold these values. */
function brokersWith(topics: Readonly<Record<string, readonly string[]>>, read: string[]): KafkaClients {
  const admin = {
    connect: async () => {},
    disconnect: async () => {},
    listTopics: async () => Object.keys(topics),
    fetchTopicOffsets: async (topic: string) => {
      if (topics[topic] === undefined) throw new Error('This server does not host this topic-partition');
      return [{ partition: 0, low: '0', high: String(topics[topic].length) }];
    },
  };
  const consumer = () => {
    let handler: ConsumerRunConfig['eachBatch'];
    return {
      events: {},
      on: () => () => {},
      connect: async () => {},
      disconnect: async () => {},
      pause: () => {},
      subscribe: async ({ topic }: { topic: string }) => void read.push(topic),
      run: async (config: ConsumerRunConfig) => {
        handler = config.eachBatch;
      },
      seek: ({ topic }: { topic: string }) => {
        const messages = topics[topic].map((value, i) => ({ offset: String(i), key: null, value: Buffer.from(value) }));
        void handler?.({ batch: { partition: 0, messages }, heartbeat: async () => {} } as never);
      },
    };
  };
  return {
    admin: () => admin as unknown as Admin,
    consumer: () => consumer() as unknown as Consumer,
  } as unknown as KafkaClients;
}

function request(id: string, model: string): string {
  const column = (name: string) => ({ name, datatype: 'FP32' as const, shape: [1, 1], values: [1] });
  const [features, predictions] = [[column('x')], [column('y')]];
  const asked = { id, time: 1000, model, version: '1', status: 'ok', shadow: false, sampleRate: 1, redactions: [] };
  return recordJson({ ...asked, features, predictions } as unknown as LogRecord);
}

function told(id: string, model: string, time: number, label: unknown, rewards = {}): string {
  return recordJson({ id, time, route: '', model, rewards, label: JSON.stringify(label) } as FeedbackRecord);
}

const TOPICS = { inference: 'eu.churn.inference', feedback: 'eu.churn.feedback' };
const SPEC = { kind: 'log', model: 'churn', labelled: true, topics: TOPICS } as const;
const REQUESTS = ['a', 'b', 'c'].map((id) => request(id, 'churn'));

async function rowsFrom(clients: KafkaClients, more: Partial<{ labelsUntil: number }> = {}) {
  const connectors = new Connectors({
    config: datasetsSchema.parse({}),
    logFolders: {},
    messages: MESSAGES,
    kafka: async () => clients,
  });
  const source = await connectors.open({ ...SPEC, ...more }, {});
  const { columns } = await collect(source);
  const names = source.schema.fields.map(({ name }) => name);
  const column = (name: string) => columns[names.indexOf(name)];
  const rows = column('id').map((id, i) => [id, column('label')[i], column('label_time')[i]]);
  return { rows, rewards: names.filter((name) => name.startsWith('reward.')) };
}

test('labels that name no model are read from their own topic, where those of other models make no columns', async () => {
  const read: string[] = [];
  const clients = brokersWith(
    {
      [TOPICS.inference]: REQUESTS,
      [TOPICS.feedback]: [told('a', 'churn', 2000, 1), told('b', 'churn', 2000, 2, { clicks: 1 })],
      'eu.unmatched.feedback': [
        told('b', '', 1500, 9),
        told('c', '', 3000, 3, { clicks: 2 }),
        told('c', '', 3000, 3, { clicks: 2 }),
        told('other', '', 3000, 'yes', { views: 1 }),
      ],
    },
    read,
  );
  const { rows, rewards } = await rowsFrom(clients);
  assert.deepEqual(rows, [
    ['a', 1, 2000],
    ['b', 2, 2000],
    ['c', 3, 3000],
  ]);
  assert.deepEqual(rewards, ['reward.clicks']);
  assert.ok(read.includes('eu.unmatched.feedback'));
  const early = await rowsFrom(clients, { labelsUntil: 2500 });
  assert.deepEqual(early.rows, rows.slice(0, 2));
});

test('a topic of unmatched feedback that is not there has nothing, and the requests are read once', async () => {
  const read: string[] = [];
  const topics = { [TOPICS.inference]: REQUESTS, [TOPICS.feedback]: [told('a', 'churn', 2000, 1)] };
  assert.deepEqual((await rowsFrom(brokersWith(topics, read))).rows, [['a', 1, 2000]]);
  assert.deepEqual(read, [TOPICS.feedback, TOPICS.inference]);
});

test('brokers that cannot be asked which topics there are end the reading: labels that are left out would not be missed', async () => {
  const away = brokersWith({}, []);
  away.admin().listTopics = async () => {
    throw new Error('connect ECONNREFUSED');
  };
  await assert.rejects(rowsFrom(away), {
    code: 'unavailable',
    message: 'whether Kafka has the topic "eu.unmatched.feedback" cannot be told: connect ECONNREFUSED',
  });
});

test('the topic of unmatched feedback is the one beside that of the requests, unless it is named, and lineage tells it', () => {
  const unmatched = (model: string, inference: string, feedback: string) =>
    withUnmatched(model, { inference, feedback }).unmatched;
  assert.equal(unmatched('churn', 'churn.inference', 'churn.feedback'), 'unmatched.feedback');
  assert.equal(unmatched('a/b', 'eu.a_b.inference', 'outcomes'), 'eu.unmatched.feedback');
  assert.equal(unmatched('churn', 'copy-of-requests', 'outcomes'), undefined);
  assert.equal(unmatched('churn', 'churn.inference', 'unmatched.feedback'), undefined, 'it is read as feedback');
  const named = { inference: 'copy-of-requests', feedback: 'outcomes', unmatched: 'nameless' };
  assert.deepEqual(withUnmatched('churn', named), named);
  assert.deepEqual(originOf(SPEC), { ...SPEC, topics: { ...TOPICS, unmatched: 'eu.unmatched.feedback' } });
});
