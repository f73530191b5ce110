import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { fakeServices } from '../../testing/http-services.ts';
import { SOCKET_LIBRARIES } from '../../testing/socket-libraries.ts';
import type { ListenOptions } from './socket.ts';
import { startHttpServer } from './start.ts';

const SCRIPT = fileURLToPath(new URL('../../../docker/healthcheck.mjs', import.meta.url));
const file = (name: string): string => fileURLToPath(new URL(`../../testing/fixtures/tls/${name}`, import.meta.url));
const TLS = { certFile: file('localhost.pem'), keyFile: file('localhost.key'), requireClientCertificate: false };

/** The exit code of the container's health check. */
function check(port: number): Promise<number> {
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [SCRIPT], { env: { SWITCHYARD_HTTP_PORT: String(port) } }, () =>
      resolve(child.exitCode ?? -1),
    );
  });
}

for (const library of SOCKET_LIBRARIES) {
  describe(`the container's health check, over ${library}`, () => {
    const services = fakeServices();
    const open = (tls?: ListenOptions['tls']) =>
      startHttpServer(services, {
        ...{ host: '127.0.0.1', port: 0, tls, library, exclusivePort: true },
        log: { warn: () => {} },
      });

    const ways: [string, ListenOptions['tls']][] = [
      ['in the clear', undefined],
      ['over TLS', TLS],
    ];
    for (const [name, tls] of ways) {
      it(`follows readiness ${name}`, async () => {
        const server = await open(tls);
        try {
          services.isReady = true;
          assert.equal(await check(server.port), 0);
          services.isReady = false;
          assert.equal(await check(server.port), 1);
        } finally {
          await server.close(0);
        }
        assert.equal(await check(server.port), 1, 'nobody listens');
      });
    }

    // uWebSockets.js cannot ask for client certificates.
    if (library !== 'uws')
      it('takes a server that demands a client certificate for alive', async () => {
        const server = await open({ ...TLS, caFile: file('ca.pem'), requireClientCertificate: true });
        try {
          assert.equal(await check(server.port), 0);
        } finally {
          await server.close(0);
        }
        assert.equal(await check(server.port), 1);
      });
  });
}
