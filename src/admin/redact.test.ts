import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configSchema } from '../config/schema.ts';
import { redact } from './redact.ts';

test('no secret of a configuration comes through', () => {
  const secret = 'c0ffee'.repeat(10);
  const config = configSchema.parse({
    server: { adminToken: secret },
    admission: {
      apiKeys: [{ tenant: 'acme', sha256: `${secret}c0ff` }],
      redisUrl: `redis://user:${secret}@cache:6379/0`,
    },
    cache: { redisUrl: `redis://:${secret}@cache:6379` },
    telemetry: { tracing: { endpoint: `https://collector/v1?key=${secret}` } },
  });
  const shown = JSON.stringify(redact(config));
  assert.equal(shown.includes(secret), false);
  assert.ok(shown.includes('acme'));
  assert.ok(shown.includes('redis://cache:6379'));
  assert.ok(shown.includes('https://collector/v1'));
});

test('what is no secret stays as it is', () => {
  const config = configSchema.parse({ cache: { redisUrl: 'redis://cache:6379/1' } });
  assert.deepEqual(redact(config), config);
});
