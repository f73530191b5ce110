import assert from 'node:assert/strict';
import { once } from 'node:events';
import { describe, it } from 'node:test';
import { credentials, type ServiceError } from '@grpc/grpc-js';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { echoServices, openAdmission } from '../../testing/echo-services.ts';
import { type InferResponse, inferRequest, MAX_MESSAGE, status, TestClient, until } from '../../testing/grpc-client.ts';
import { pem, serverTls } from '../../testing/tls.ts';
import { startGrpcServer } from './start-grpc-server.ts';

for (const secure of [false, true]) {
  describe(`drain${secure ? ' over TLS' : ''}`, () => {
    it('finishes calls under way, refuses new ones, and ends idle streams', async () => {
      const services = echoServices();
      let release: (() => void) | undefined;
      const { infer } = services.dataPlane;
      services.dataPlane.infer = (request, context, observer) => {
        if (request.model !== 'hold') return infer.call(services.dataPlane, request, context, observer);
        release = () => void infer.call(services.dataPlane, { ...request, model: 'echo' }, context, observer);
        return { cancel: () => undefined };
      };
      const server = await startGrpcServer(services, {
        host: '127.0.0.1',
        port: 0,
        maxMessageBytes: MAX_MESSAGE,
        tls: secure ? serverTls() : undefined,
      });
      const creds = secure ? credentials.createSsl(pem('ca.pem')) : credentials.createInsecure();
      const client = new TestClient(server.port, serviceDefinition(INFERENCE_SERVICE), {}, creds);
      const stream = client.bidi('ModelStreamInfer');
      stream.on('data', () => undefined);
      stream.write(inferRequest('echo'));
      await until(() => services.dataPlane.requests.length === 1);
      const ended = once(stream, 'error') as Promise<[ServiceError]>;
      const held = client.unary<InferResponse>('ModelInfer', inferRequest('hold'));
      await until(() => release !== undefined);
      const drained = server.drain();
      assert.equal((await ended)[0].code, 14);
      (release as unknown as () => void)();
      assert.equal((await held).id, 'r1');
      await drained;
      assert.equal(
        (await status(client.unary('ServerLive', {}, { deadline: new Date(Date.now() + 300) }))).code > 0,
        true,
      );
      client.close();
      await server.close();
    });
  });
}

describe('TLS', () => {
  it('knows a client by its certificate and turns away those without', async () => {
    const services = echoServices();
    const names: string[] = [];
    services.admission = {
      ...openAdmission(),
      enabled: true,
      authenticate: ({ certificateName }) => {
        names.push(certificateName);
        return { tenant: certificateName, roles: [], maxPriority: 0 };
      },
    };
    const tls = serverTls('require');
    const server = await startGrpcServer(services, { host: '127.0.0.1', port: 0, maxMessageBytes: MAX_MESSAGE, tls });
    const definition = serviceDefinition(INFERENCE_SERVICE);
    const alice = new TestClient(
      server.port,
      definition,
      {},
      credentials.createSsl(pem('ca.pem'), pem('alice.key'), pem('alice.pem')),
    );
    await alice.unary('ModelInfer', inferRequest('echo'));
    assert.deepEqual(names, ['alice']);
    const nobody = new TestClient(server.port, definition, {}, credentials.createSsl(pem('ca.pem')));
    assert.equal(
      (await status(nobody.unary('ServerLive', {}, { deadline: new Date(Date.now() + 2000) }))).code > 0,
      true,
    );
    alice.close();
    nobody.close();
    await server.close();
  });
});
