import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { TestClient } from '../../testing/grpc-client.ts';
import { ServerProcess } from '../../testing/server-process.ts';

const folder = mkdtempSync(join(tmpdir(), 'switchyard-grpc-'));
let server: ServerProcess;
before(async () => {
  const config = join(folder, 'switchyard.yaml');
  writeFileSync(config, 'threads: {gateways: 3, executors: 1}\n');
  server = await ServerProcess.start(['--config', config, '--data-dir', join(folder, 'data')]);
});
after(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

test('with several gateway threads, every connection is served', async () => {
  const service = serviceDefinition(INFERENCE_SERVICE);
  for (let i = 0; i < 24; i++) {
    const client = new TestClient(server.ports.grpc, service, { 'grpc.use_local_subchannel_pool': 1 });
    assert.deepEqual(await client.unary('ServerReady', {}), { ready: true });
    client.close();
  }
});
