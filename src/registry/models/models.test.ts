import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { modelRegistrySuite } from '../../testing/model-registry-suite.ts';
import { RegistryUnderTest } from '../../testing/registry.ts';

modelRegistrySuite(() => RegistryUnderTest.open());

test('a delivery that was not made before a stop is made after the start', async () => {
  const bodies: string[] = [];
  const receiver = createServer((request, response) => {
    request.on('data', (chunk: Buffer) => bodies.push(chunk.toString()));
    request.on('end', () => response.end());
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
  const { port } = receiver.address() as AddressInfo;
  await new Promise((resolve) => receiver.close(resolve));

  const first = await RegistryUnderTest.open();
  const events = [{ entity: 'REGISTERED_MODEL', action: 'CREATED' }];
  await first.ok('POST', 'webhooks', { name: 'late', url: `http://127.0.0.1:${port}/`, events });
  await first.ok('POST', 'registered-models/create', { name: 'kept' });
  await first.close(true);

  await new Promise<void>((resolve) => receiver.listen(port, '127.0.0.1', resolve));
  const second = await RegistryUnderTest.open(first.database, first.dataDir);
  for (let i = 0; bodies.length === 0 && i < 400; i++) await new Promise((resolve) => setTimeout(resolve, 25));
  assert.match(bodies.join(''), /"data":\{"name":"kept"/);
  receiver.closeAllConnections();
  await new Promise((resolve) => receiver.close(resolve));
  await second.close();
});
