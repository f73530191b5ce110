import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Redis } from 'ioredis';
import { SwitchyardError } from '../shared/errors.ts';
import type { Identity } from './admission.ts';
import type { AdmissionConfig } from './admission-config.ts';
import { createAdmission, type UpdatableAdmission } from './create-admission.ts';

const redisUrl = process.env.SWITCHYARD_TEST_REDIS_URL ?? '';
before(() => assert.ok(redisUrl, 'set SWITCHYARD_TEST_REDIS_URL; .ci/services/redis.sh start prints it'));

const tenantOf = (name: string): Identity => ({
  tenant: `${name}-${process.pid}-${Date.now()}`,
  roles: [],
  maxPriority: 0,
});

/** Tries so often on each gateway in turn; answers how many were admitted. */
async function attempts(gateways: UpdatableAdmission[], who: Identity, times: number): Promise<number> {
  let admitted = 0;
  for (let i = 0; i < times; i++) {
    const gateway = gateways[i % gateways.length];
    try {
      await gateway.admit(who, 'm');
      admitted++;
      gateway.release(who, 'm');
    } catch (error) {
      assert.ok(
        error instanceof SwitchyardError && error.code === 'overloaded' && error.retryAfterMs! > 0,
        String(error),
      );
    }
  }
  return admitted;
}

async function fleet(config: AdmissionConfig): Promise<UpdatableAdmission[]> {
  return [await createAdmission(config, { redisUrl }), await createAdmission(config, { redisUrl })];
}

test('two gateways share one rate', async () => {
  const who = tenantOf('rate');
  const gateways = await fleet({ tenants: { [who.tenant]: { limits: { requestsPerSecond: 1, burst: 60 } } } });
  assert.equal(await attempts(gateways, who, 100), 60);
  assert.equal(gateways[0].redisFallbacks + gateways[1].redisFallbacks, 0);
  await Promise.all(gateways.map((gateway) => gateway.close()));
});

test('two gateways share one quota, and a model its own', async () => {
  const who = tenantOf('quota');
  const gateways = await fleet({
    tenants: { [who.tenant]: { limits: { dailyQuota: 30 }, modelLimits: { m: { dailyQuota: 20 } } } },
  });
  assert.equal(await attempts(gateways, who, 50), 20);
  await Promise.all(gateways.map((gateway) => gateway.close()));
});

test('a refused request gives its place back', async () => {
  const who = tenantOf('place');
  const [gateway, twin] = await fleet({
    tenants: { [who.tenant]: { limits: { concurrency: 1, requestsPerSecond: 1, burst: 60 } } },
  });
  assert.equal(await attempts([gateway], who, 80), 60);
  await gateway.close();
  await twin.close();
});

test('Redis away: each gateway limits alone, and says how often', async () => {
  const who = tenantOf('away');
  const config: AdmissionConfig = { tenants: { [who.tenant]: { limits: { requestsPerSecond: 0.001, burst: 5 } } } };
  const gateways = [
    await createAdmission(config, { redisUrl: 'redis://127.0.0.1:1' }),
    await createAdmission(config, { redisUrl: 'redis://127.0.0.1:1' }),
  ];
  assert.equal(await attempts(gateways, who, 40), 10);
  assert.equal(gateways[0].redisFallbacks + gateways[1].redisFallbacks, 40);
  await Promise.all(gateways.map((gateway) => gateway.close()));
});

test('Redis losing its connection in the middle moves to local limits', async () => {
  const who = tenantOf('cut');
  const gateway = await createAdmission(
    { tenants: { [who.tenant]: { limits: { requestsPerSecond: 0.001, burst: 5 } } } },
    { redisUrl },
  );
  assert.equal(await attempts([gateway], who, 2), 2);
  const direct = new Redis(redisUrl);
  await direct.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
  direct.disconnect();
  const admitted = await attempts([gateway], who, 40);
  assert.ok(admitted >= 3 && admitted <= 8, `${admitted}: what Redis still grants and the local burst`);
  await gateway.close();
});
