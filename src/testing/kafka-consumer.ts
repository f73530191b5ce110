import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const SCRIPT = fileURLToPath(new URL('../../.ci/clients/kafka/consume.py', import.meta.url));

export interface Consumed {
  topic: string;
  key: string | null;
  headers: Record<string, string>;
  framing: 'json' | 'avro' | 'block';
  record: { id: string; requestId: string; status: string; features: unknown[] } & Record<string, unknown>;
}

/** Everything in topics, read and decoded by confluent-kafka. */
export async function consumeAll(broker: string, topics: readonly string[], registry?: string): Promise<Consumed[]> {
  const lines = await consume([broker, ...topics, ...(registry === undefined ? [] : ['--registry', registry])]);
  return lines.map((line) => JSON.parse(line) as Consumed);
}

/** The ids of the same records, however many there are. */
export function consumeIds(broker: string, topics: readonly string[]): Promise<string[]> {
  return consume([broker, ...topics, '--ids']);
}

async function consume(args: readonly string[]): Promise<string[]> {
  const { SWITCHYARD_TEST_KAFKA_PYTHON: python } = process.env;
  assert.ok(python, 'SWITCHYARD_TEST_KAFKA_PYTHON names a Python with confluent-kafka; see .ci/clients/kafka/setup.sh');
  const { stdout } = await run(python, [SCRIPT, ...args], { maxBuffer: 512 * 1024 * 1024 });
  return stdout.split('\n').filter((line) => line !== '');
}

/** A variable that names a service. Fails the test where it is absent. */
export function service(name: string, how: string): string {
  const value = process.env[name];
  assert.ok(value, `${name} is not set; see ${how}`);
  return value;
}
