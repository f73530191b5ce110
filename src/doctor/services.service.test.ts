import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configSchema } from '../config/schema.ts';
import { freshBucket } from '../testing/artifact-storage.ts';
import { checkServices } from './services.ts';

test('services that run answer with what they are', { timeout: 600_000 }, async () => {
  const { SWITCHYARD_TEST_REDIS_URL: redisUrl, SWITCHYARD_TEST_KAFKA_URL: broker } = process.env;
  assert.ok(redisUrl, 'SWITCHYARD_TEST_REDIS_URL names a server; see .ci/services/redis.sh');
  assert.ok(broker, 'SWITCHYARD_TEST_KAFKA_URL names a broker; see .ci/services/kafka.sh');
  const s3 = await freshBucket();
  const config = configSchema.parse({
    cache: { redisUrl },
    kafka: { brokers: [broker] },
    registry: { artifacts: { s3 } },
  });
  const found = (await checkServices(config)).map(({ name, status, found }) => `${name} ${status} ${found}`);
  assert.match(found[0], /^Redis ok .*: version \d/);
  assert.match(found[1], /^Kafka ok .*: 1 broker$/);
  assert.match(found[2], /^S3 ok bucket test-.*: it may be read$/);
  config.registry.artifacts.s3!.bucket = 'there-is-no-such-bucket';
  assert.deepEqual(
    (await checkServices(config)).map(({ status }) => status),
    ['ok', 'ok', 'failed'],
  );
});
