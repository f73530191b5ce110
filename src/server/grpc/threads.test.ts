import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { credentials } from '@grpc/grpc-js';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { native } from '../../tensor/native.ts';
import { TestClient } from '../../testing/grpc-client.ts';
import { ServerProcess } from '../../testing/server-process.ts';
import { clientTls, pem, tlsConnect } from '../../testing/tls.ts';
import { carriesNatively, grpcLibrary } from './open-transport.ts';

const THREADS = 3;
const service = serviceDefinition(INFERENCE_SERVICE);

/** `use` is given a server with several gateway threads. */
async function withServer(section: object, use: (server: ServerProcess) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-grpc-'));
  const config = join(folder, 'switchyard.yaml');
  // JSON is YAML.
  writeFileSync(config, JSON.stringify({ threads: { gateways: THREADS, executors: 1 }, server: section }));
  const server = await ServerProcess.start(['--config', config, '--data-dir', join(folder, 'data')]);
  try {
    await use(server);
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true });
  }
}

/** How many sockets of this machine listen on a port. */
function listeners(port: number): number {
  const lines = ['tcp', 'tcp6'].flatMap((table) => readFileSync(`/proc/net/${table}`, 'utf8').split('\n'));
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return lines.filter((line) => line.trim().split(/ +/)[1]?.endsWith(`:${hex}`) && / 0A /.test(line)).length;
}

/** Connections of their own: the system spreads them over the threads. */
async function askOften(port: number, creds = credentials.createInsecure()): Promise<void> {
  for (let i = 0; i < 24; i++) {
    const client = new TestClient(port, service, { 'grpc.use_local_subchannel_pool': 1 }, creds);
    assert.deepEqual(await client.unary('ServerReady', {}), { ready: true });
    client.close();
  }
}

/** Sessions are resumed whichever threads the connections come to. */
async function resumeOften(port: number): Promise<void> {
  let session: Buffer | undefined;
  for (let i = 0; i < 12; i++) {
    const socket = tlsConnect(port, { ...clientTls(), maxVersion: 'TLSv1.2', session });
    await once(socket, 'secureConnect');
    assert.equal(socket.isSessionReused(), i > 0);
    session ??= socket.getSession();
    socket.destroy();
  }
}

describe('with several gateway threads, every connection is served', () => {
  it('in plain text', () => withServer({}, ({ ports }) => askOften(ports.grpc)));

  it('over TLS, by all threads where the addon is in use', () => {
    const file = (name: string) => fileURLToPath(new URL(`../../testing/fixtures/tls/${name}`, import.meta.url));
    const tls = { certFile: file('localhost.pem'), keyFile: file('localhost.key') };
    return withServer({ tls }, async ({ ports }) => {
      await askOften(ports.grpc, credentials.createSsl(pem('ca.pem')));
      await resumeOften(ports.grpc);
      const carried = native !== undefined && carriesNatively(grpcLibrary(process.env.SWITCHYARD_GRPC), true);
      assert.equal(listeners(ports.grpc), carried ? THREADS : 1);
    });
  });
});
