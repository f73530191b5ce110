import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Logger, pino } from 'pino';
import { kafkaSchema } from '../config/kafka-schema.ts';
import { kafkaClients } from './client.ts';
import { logInto } from './log.ts';

function lines(): { logger: Logger; read(): { level: number; msg: string }[] } {
  const texts: string[] = [];
  const logger = pino({ level: 'debug' }, { write: (text: string) => void texts.push(text) });
  return { logger, read: () => texts.map((text) => JSON.parse(text) as { level: number; msg: string }) };
}

test('without brokers, or with a certificate that is not there, it says what to do', async () => {
  const { logger } = lines();
  const refused = (config: object, message: RegExp) =>
    assert.rejects(kafkaClients(kafkaSchema.parse(config), logger), { code: 'failed_precondition', message });
  await refused({}, /kafka\.brokers/);
  await refused(
    { brokers: ['127.0.0.1:9'], ssl: { caFile: 'no/such.pem' } },
    /kafka\.ssl: no\/such\.pem cannot be read/,
  );
});

test('addresses, half a client certificate and unknown mechanisms are refused', () => {
  const problem = (config: object): string => kafkaSchema.safeParse(config).error?.issues[0]?.message ?? '';
  assert.match(problem({ brokers: ['kafka'] }), /host:port/);
  assert.match(problem({ ssl: { certFile: 'a.pem' } }), /certFile and keyFile/);
  assert.match(problem({ sasl: { mechanism: 'gssapi', username: 'u', password: 'p' } }), /scram-sha-256/);
});

test("kafkajs's lines become ours: its errors are warnings, and a repeated one is told once in 30 s", () => {
  const { logger, read } = lines();
  let now = 0;
  const write = logInto(logger, () => now)(1);
  const entry = (level: number, message: string) =>
    write({ namespace: 'Connection', level, label: '', log: { timestamp: '', message, broker: 'b:1' } });
  entry(1, 'Connection error');
  now = 29_999;
  entry(1, 'Connection error');
  entry(2, 'rebalancing');
  entry(4, 'started');
  now = 30_000;
  entry(1, 'Connection error');
  const expected = [
    { level: 40, msg: 'Connection error' },
    { level: 30, msg: 'rebalancing' },
    { level: 20, msg: 'started' },
    { level: 40, msg: 'Connection error' },
  ];
  assert.deepEqual(
    read().map(({ level, msg }) => ({ level, msg })),
    expected,
  );
});

test('of an error that kafkajs tells its text is told', () => {
  const { logger, read } = lines();
  const write = logInto(logger, () => 0)(1);
  const log = { timestamp: '', message: 'Error when calling eachBatch', error: new Error('no topic') };
  write({ namespace: 'Runner', level: 1, label: '', log });
  assert.deepEqual(
    read().map((line) => (line as unknown as { error: string }).error),
    ['no topic'],
  );
});
