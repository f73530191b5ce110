import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { after, describe, it } from 'node:test';
import type { TLSSocket } from 'node:tls';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { frameMessage } from '../../protocol/grpc/wire-writer.ts';
import { native, nativeProblem } from '../../tensor/native.ts';
import { cipherPolicy } from '../../tensor/native-tls.ts';
import { echoServices, openAdmission } from '../../testing/echo-services.ts';
import { clientTls, pem, serverTls, tlsConnect } from '../../testing/tls.ts';
import type { GrpcTls } from './http2-server.ts';
import { type RunningGrpcServer, startGrpcServer } from './start-grpc-server.ts';

const PATH = `/${INFERENCE_SERVICE}/ModelInfer`;
const { ModelInfer } = serviceDefinition(INFERENCE_SERVICE);
const skip = native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off');

type Options = Parameters<typeof tlsConnect>[1];

interface Open {
  server: RunningGrpcServer;
  /** Whom calls came from, by certificate. */
  names: string[];
}

function close(session: ClientHttp2Session): Promise<void> {
  return new Promise((resolve) => session.close(resolve));
}

/** The status of one call of so many floats, '' where the connection ended instead. */
function call(session: ClientHttp2Session, floats = 1): Promise<string> {
  const message = ModelInfer.requestSerialize({
    model_name: 'echo',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [floats] }],
    raw_input_contents: [Buffer.alloc(floats * 4)],
  });
  return new Promise((resolve) => {
    const stream = session.request({ ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc' });
    let status = '';
    let length = 0;
    stream.on('error', () => undefined);
    stream.on('trailers', (trailers) => {
      status = String(trailers['grpc-status']);
    });
    stream.on('data', (chunk: Buffer) => {
      length += chunk.length;
    });
    stream.on('close', () => resolve(length > floats * 4 ? status : ''));
    stream.end(frameMessage(message));
  });
}

/** A session's one call: its status, or '' where the server did not want the client. */
async function served(port: number, options: Options = clientTls()): Promise<string> {
  const session = connectHttp2(`https://127.0.0.1:${port}`, options);
  session.on('error', () => undefined);
  const status = await call(session);
  session.destroy();
  return status;
}

/** All that a server sends before it closes the connection. */
function rest(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) => socket.once('close', () => resolve(Buffer.concat(chunks))));
}

/** How a handshake ends: the protocol, or the error's code. */
function handshake(port: number, options: Options): Promise<string> {
  const socket = tlsConnect(port, options);
  return new Promise((resolve) => {
    socket.once('secureConnect', () => {
      resolve(socket.getProtocol() ?? '');
      socket.destroy();
    });
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
  });
}

for (const library of ['native', 'node'] as const) {
  describe(`TLS of the ${library} transport`, { skip: library === 'native' && skip }, () => {
    const open: RunningGrpcServer[] = [];
    after(async () => {
      for (const server of open) await server.close();
    });

    async function start(tls: GrpcTls = serverTls()): Promise<Open> {
      const services = echoServices();
      services.dataPlane.recording = false;
      const names: string[] = [];
      services.admission = {
        ...openAdmission(),
        enabled: true,
        authenticate: ({ certificateName }) => {
          names.push(certificateName);
          return { tenant: 'any', roles: [], maxPriority: 0 };
        },
      };
      const server = await startGrpcServer(services, {
        host: '127.0.0.1',
        port: 0,
        maxMessageBytes: 32 << 20,
        library,
        tls,
      });
      open.push(server);
      return { server, names };
    }

    it('carries large messages both ways, several at once, in TLS 1.2 and 1.3', async () => {
      const { server } = await start();
      for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
        const session = connectHttp2(`https://127.0.0.1:${server.port}`, {
          ...clientTls(),
          minVersion: version,
          maxVersion: version,
          maxSessionMemory: 512,
        });
        await once(session, 'connect');
        assert.equal((session.socket as TLSSocket).getProtocol(), version);
        const sizes = [1, 16_384, 100_000, 5_000_000, 3, 1_000_000];
        const statuses = await Promise.all(sizes.map((floats) => call(session, floats)));
        assert.deepEqual(
          statuses,
          sizes.map(() => '0'),
        );
        await close(session);
      }
    });

    it('asks nobody for a certificate where none is wanted', async () => {
      const { server, names } = await start(serverTls('none'));
      assert.equal(await served(server.port), '0');
      assert.equal(await served(server.port, clientTls('alice')), '0');
      assert.deepEqual(names, ['', '']);
    });

    it('takes clients with and without one where it asks, and knows those it can verify by their one name', async () => {
      const { server, names } = await start(serverTls('request', 'other-ca.pem'));
      assert.equal(await served(server.port), '0');
      assert.equal(await served(server.port, clientTls('zoe', 'other.key')), '0');
      assert.equal(await served(server.port, clientTls('two-names', 'other.key')), '0');
      assert.equal(await served(server.port, clientTls('alice')), '0');
      assert.deepEqual(names, ['', 'Zoë', '', '']);
    });

    it('refuses clients without one, or of an unknown authority, where it insists', async () => {
      const { server, names } = await start(serverTls('require'));
      assert.equal(await served(server.port), '');
      assert.equal(await served(server.port, clientTls('zoe', 'other.key')), '');
      assert.equal(await served(server.port, { ...clientTls('zoe', 'other.key'), maxVersion: 'TLSv1.2' }), '');
      assert.equal(await served(server.port, clientTls('alice')), '0');
      assert.deepEqual(names, ['alice']);
    });

    it('resumes sessions, and knows their clients', async () => {
      const { server, names } = await start(serverTls('require'));
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
        let ticket: Buffer | undefined;
        for (const resumed of [false, true, true]) {
          const socket = tlsConnect(server.port, { ...clientTls('alice'), maxVersion, session: ticket });
          const session = connectHttp2('https://localhost', { createConnection: () => socket });
          session.on('error', () => undefined);
          socket.on('session', (fresh: Buffer) => {
            ticket = fresh;
          });
          assert.equal(await call(session), '0');
          assert.equal(socket.isSessionReused(), resumed, `${maxVersion} ${resumed}`);
          session.destroy();
        }
      }
      assert.deepEqual(names, new Array(6).fill('alice'));
    });

    it('refuses TLS 1.1, unknown ciphers and protocols other than h2, and serves on', async () => {
      const { server } = await start();
      const old = { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0' } as const;
      assert.match(await handshake(server.port, { ...clientTls(), ...old }), /PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL/);
      const weak = { maxVersion: 'TLSv1.2', ciphers: 'RC4-SHA:NULL-SHA256:@SECLEVEL=0' } as const;
      assert.match(await handshake(server.port, { ...clientTls(), ...weak }), /HANDSHAKE_FAILURE/);
      for (const ALPNProtocols of [['http/1.1'], ['h2c', 'h3', 'h'], ['x'.repeat(255)]]) {
        assert.match(
          await handshake(server.port, { ...clientTls(), ALPNProtocols }),
          /NO_APPLICATION_PROTOCOL|ECONNRESET/,
          ALPNProtocols[0],
        );
      }
      assert.equal(await handshake(server.port, { ...clientTls(), ALPNProtocols: ['http/1.1', 'h2'] }), 'TLSv1.3');
      assert.equal(await served(server.port), '0');
    });

    it('serves nothing to clients that name no protocol', async () => {
      const { server, names } = await start();
      const socket = tlsConnect(server.port, { ...clientTls(), ALPNProtocols: undefined });
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
      const answer = await rest(socket);
      assert.ok(answer.length === 0 || answer.toString('latin1').startsWith('HTTP/1.0 403'), answer.toString('hex'));
      assert.deepEqual(names, []);
      assert.equal(await served(server.port), '0');
    });

    it('ends connections of plain text and of garbage', async () => {
      const { server } = await start();
      const pieces = [
        'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0',
        'GET / HTTP/1.1\r\n\r\n',
        // A ClientHello that claims more than it has, a record of no length, an alert.
        '\x16\x03\x01\x00\x05\x01\xff\xff\xff\xff',
        '\x16\x03\x01\x00\x00'.repeat(40),
        '\x15\x03\x01\x00\x02\x02\x28',
        '\xff'.repeat(70_000),
      ];
      for (const piece of pieces) {
        const socket = connect(server.port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.write(piece, 'latin1');
        await rest(socket);
      }
      assert.equal(await served(server.port), '0');
    });

    it('ends when half-open connections are all that is left', async () => {
      const { server } = await start();
      const sockets = ['', '\x16\x03\x01\x02\x00\x01'].map((piece) => {
        const socket = connect(server.port, '127.0.0.1');
        socket.on('error', () => undefined);
        socket.write(piece, 'latin1');
        return socket;
      });
      await Promise.all(sockets.map((socket) => once(socket, 'connect')));
      assert.equal(await served(server.port), '0');
      const gone = Promise.all(sockets.map(rest));
      await server.drain();
      await gone;
    });

    it('gives up on a handshake that does not go on', async () => {
      const { server } = await start();
      const socket = connect(server.port, '127.0.0.1');
      socket.on('error', () => undefined);
      socket.write('\x16\x03\x01\x02\x00\x01', 'latin1');
      await rest(socket);
      assert.equal(await served(server.port), '0');
    });

    it('does not negotiate again', async () => {
      const { server } = await start();
      const socket = tlsConnect(server.port, { ...clientTls(), maxVersion: 'TLSv1.2' });
      await once(socket, 'secureConnect');
      socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
      await once(socket, 'data');
      const gone = rest(socket);
      socket.renegotiate({ rejectUnauthorized: true }, () => undefined);
      await gone;
      assert.equal(await served(server.port), '0');
    });

    it('says that it closes', async () => {
      const { server } = await start();
      const socket = tlsConnect(server.port);
      await once(socket, 'secureConnect');
      // A truncated stream would be an error of the client's.
      const errors: Error[] = [];
      socket.on('error', (error) => errors.push(error));
      const ended = once(socket, 'end');
      socket.resume();
      socket.end('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0');
      await ended;
      assert.deepEqual(errors, []);
    });

    it('does not start with certificates and keys that are none, or not of each other', async () => {
      const tls = serverTls();
      const bad: [GrpcTls, RegExp][] = [
        [{ ...tls, cert: 'nonsense' }, /certificate|no start line/i],
        [{ ...tls, key: 'nonsense' }, /private key|no start line|DECODER/i],
        [{ ...tls, key: pem('alice.key') }, /key values mismatch/],
        [{ ...tls, key: pem('locked.key') }, /private key|bad decrypt/i],
      ];
      for (const [options, expected] of bad) await assert.rejects(start(options), expected);
    });
  });
}

describe('cipherPolicy', () => {
  it('parts what node keeps together', () => {
    const both = cipherPolicy('TLS_AES_256_GCM_SHA384:ECDHE-RSA-AES128-GCM-SHA256:!RC4', 'TLSv1.3');
    const ciphers = 'ECDHE-RSA-AES128-GCM-SHA256:!RC4';
    assert.deepEqual(both, { ciphers, suites: 'TLS_AES_256_GCM_SHA384', minVersion: 0x303, maxVersion: 0x304 });
    assert.equal(cipherPolicy(both.ciphers, 'TLSv1.3').maxVersion, 0x303);
    assert.equal(cipherPolicy(both.suites, 'TLSv1.3').minVersion, 0x304);
    assert.equal(cipherPolicy('TLS_A:B', 'TLSv1.2').maxVersion, 0x303);
  });
});
