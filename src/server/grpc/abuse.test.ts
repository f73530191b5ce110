import assert from 'node:assert/strict';
import { type EventEmitter, once } from 'node:events';
import { type ClientHttp2Session, connect as connectHttp2, constants, type IncomingHttpHeaders } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { frameMessage } from '../../protocol/grpc/wire-writer.ts';
import { type EchoServices, echoServices } from '../../testing/echo-services.ts';
import { clientTls, serverTls, tlsConnect } from '../../testing/tls.ts';
import { type RunningGrpcServer, startGrpcServer } from './start-grpc-server.ts';

const PATH = `/${INFERENCE_SERVICE}/ModelInfer`;
const LIMIT = 1 << 20;

const { ModelInfer } = serviceDefinition(INFERENCE_SERVICE);
const valid = frameMessage(
  ModelInfer.requestSerialize({
    model_name: 'echo',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 1] }],
    raw_input_contents: [Buffer.alloc(4)],
  }),
);

interface Answer {
  status: string;
  message: string;
  http: number;
}

function headers(extra: Record<string, string> = {}): Record<string, string> {
  return { ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc', te: 'trailers', ...extra };
}

/** One call over raw HTTP/2; `body` undefined leaves the request open. */
function ask(
  session: ClientHttp2Session,
  body: Buffer | undefined,
  extra: Record<string, string> = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request(headers(extra), { endStream: body?.length === 0 });
    let first: IncomingHttpHeaders = {};
    let last: IncomingHttpHeaders = {};
    stream.on('response', (got) => {
      first = got;
    });
    stream.on('trailers', (got) => {
      last = got;
    });
    stream.on('error', reject);
    stream.on('close', () =>
      resolve({
        status: String(last['grpc-status'] ?? first['grpc-status'] ?? ''),
        message: decodeURIComponent(String(last['grpc-message'] ?? first['grpc-message'] ?? '')),
        http: Number(first[':status']),
      }),
    );
    stream.resume();
    if (body !== undefined && body.length > 0) stream.end(body);
  });
}

/** `once` would reject on the errors that attackers get. */
function closed(emitter: EventEmitter): Promise<void> {
  return new Promise((resolve) => emitter.once('close', () => resolve()));
}

for (const secure of [false, true])
  describe(secure ? 'over TLS' : 'over TCP', () => {
    let services: EchoServices;
    let server: RunningGrpcServer;

    before(async () => {
      services = echoServices();
      const tls = secure ? serverTls() : undefined;
      server = await startGrpcServer(services, { host: '127.0.0.1', port: 0, maxMessageBytes: LIMIT, tls });
    });
    after(() => server.close());

    async function withSession<T>(use: (session: ClientHttp2Session) => Promise<T>): Promise<T> {
      const session = secure
        ? connectHttp2(`https://127.0.0.1:${server.port}`, clientTls())
        : connectHttp2(`http://127.0.0.1:${server.port}`);
      session.on('error', () => undefined);
      try {
        return await use(session);
      } finally {
        session.destroy();
      }
    }

    /** A fresh connection is served: what every attack must leave behind. */
    async function served(): Promise<void> {
      await withSession(async (session) => {
        assert.equal((await ask(session, valid)).status, '0');
      });
    }

    describe('bad calls get their status and the connection goes on', () => {
      const cases: [string, Buffer, Record<string, string>, string, RegExp][] = [
        ['no message', Buffer.alloc(0), {}, '12', /none came/],
        ['half a message', valid.subarray(0, valid.length - 3), {}, '3', /middle of a message/],
        ['half a prefix', Buffer.from([0, 0]), {}, '3', /middle of a message/],
        ['two messages', Buffer.concat([valid, valid]), {}, '', /|second/],
        ['an unknown flag', Buffer.from([9, 0, 0, 0, 0]), {}, '13', /flag 9/],
        [
          'a compressed message without an encoding',
          Buffer.concat([Buffer.from([1]), valid.subarray(1)]),
          {},
          '13',
          /no grpc-encoding/,
        ],
        ['an unknown encoding', valid, { 'grpc-encoding': 'snappy' }, '12', /snappy.*gzip/],
        [
          'broken gzip',
          Buffer.concat([Buffer.from([1]), valid.subarray(1)]),
          { 'grpc-encoding': 'gzip' },
          '3',
          /not valid gzip/,
        ],
        ['a bad timeout', valid, { 'grpc-timeout': '5y' }, '3', /grpc-timeout '5y'/],
        ['broken protobuf', frameMessage(Buffer.from([0xff, 0xff])), {}, '3', /malformed/],
        ['an unknown method', valid, { ':path': '/a.B/C' }, '12', /a\.B\/C/],
      ];
      for (const [name, body, extra, status, pattern] of cases) {
        it(name, () =>
          withSession(async (session) => {
            const answer = await ask(session, body, extra);
            if (status !== '') assert.equal(answer.status, status);
            assert.match(answer.message, pattern);
            assert.equal((await ask(session, valid)).status, '0');
          }),
        );
      }

      it('other content types and verbs', () =>
        withSession(async (session) => {
          assert.equal((await ask(session, valid, { 'content-type': 'text/plain' })).http, 415);
          assert.equal((await ask(session, Buffer.alloc(0), { ':method': 'GET' })).http, 405);
          assert.equal((await ask(session, valid)).status, '0');
        }));

      it('a declared length over the limit, though its message never comes', () =>
        withSession(async (session) => {
          const stream = session.request(headers());
          const prefix = Buffer.alloc(5);
          prefix.writeUInt32BE(LIMIT + 1, 1);
          stream.write(prefix);
          const [got] = (await once(stream, 'response')) as [IncomingHttpHeaders];
          assert.equal(got['grpc-status'], '8');
          stream.resume();
          await closed(stream);
          assert.equal(stream.rstCode, constants.NGHTTP2_NO_ERROR);
          assert.equal((await ask(session, valid)).status, '0');
        }));

      it('an unknown method, though its request never ends', () =>
        withSession(async (session) => {
          assert.equal((await ask(session, undefined, { ':path': '/a.B/C' })).status, '12');
          assert.equal((await ask(session, undefined, { 'content-type': 'text/plain' })).http, 415);
        }));

      it('a message that unpacks to more than the limit', async () => {
        const { gzipSync } = await import('node:zlib');
        const bomb = frameMessage(gzipSync(Buffer.alloc(LIMIT + 1)));
        bomb[0] = 1;
        await withSession(async (session) => {
          const answer = await ask(session, bomb, { 'grpc-encoding': 'gzip' });
          assert.equal(answer.status, '8');
          assert.equal((await ask(session, valid)).status, '0');
        });
      });
    });

    describe('floods end their connection and nothing else', () => {
      // By hand: a client that resets a call before its headers have left sends neither.
      it('calls opened and reset at once', async () => {
        const block = Buffer.concat([
          Buffer.from([0x83, 0x87]),
          literal(':path', PATH),
          literal(':authority', 'localhost'),
          literal('content-type', 'application/grpc'),
        ]);
        const socket = await handmade();
        const gone = closed(socket);
        socket.resume();
        for (let id = 1; id < 6000; id += 2) {
          socket.write(Buffer.concat([frame(1, 4, id, block), frame(3, 0, id, Buffer.from([0, 0, 0, 8]))]));
        }
        await gone;
        await served();
      });

      function literal(name: string, value: string): Buffer {
        return Buffer.concat([
          Buffer.from([0, name.length]),
          Buffer.from(name),
          Buffer.from([value.length]),
          Buffer.from(value),
        ]);
      }

      function dial(): Socket {
        if (secure) return tlsConnect(server.port);
        const socket = connect(server.port, '127.0.0.1');
        socket.on('error', () => undefined);
        return socket;
      }

      /** A connection spoken to by hand. */
      async function handmade(): Promise<Socket> {
        const socket = dial();
        await once(socket, secure ? 'secureConnect' : 'connect');
        socket.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
        socket.write(frame(4, 0, 0, Buffer.alloc(0)));
        return socket;
      }

      function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
        const head = Buffer.alloc(9);
        head.writeUIntBE(payload.length, 0, 3);
        head[3] = type;
        head[4] = flags;
        head.writeUInt32BE(stream, 5);
        return Buffer.concat([head, payload]);
      }

      async function floodUntilClosed(socket: Socket, piece: Buffer): Promise<void> {
        const gone = closed(socket);
        const chunk = Buffer.concat(new Array<Buffer>(Math.ceil(65536 / piece.length)).fill(piece));
        socket.resume();
        const pump = (): void => {
          while (!socket.destroyed && socket.write(chunk));
        };
        socket.on('drain', pump);
        pump();
        await gone;
      }

      const one = Buffer.from([0, 0, 0, 0]);
      const floods: [string, Buffer][] = [
        ['WINDOW_UPDATE', Buffer.concat([frame(8, 0, 0, Buffer.from([0, 0, 0, 1]))])],
        ['SETTINGS', frame(4, 0, 0, Buffer.from([0, 3, 0, 0, 0, 9]))],
        ['PING', frame(6, 0, 0, Buffer.alloc(8))],
        ['PRIORITY', frame(2, 0, 1, Buffer.concat([one, Buffer.from([1])]))],
        ['CONTINUATION', frame(9, 0, 1, Buffer.from([0x00, 1, 0x61, 1, 0x62]))],
      ];
      for (const [name, piece] of floods) {
        it(name, async () => {
          const socket = await handmade();
          if (name === 'CONTINUATION') socket.write(frame(1, 0, 1, Buffer.from([0x83])));
          await floodUntilClosed(socket, piece);
          await served();
        });
      }

      it('bytes that are no HTTP/2 at all', async () => {
        const socket = dial();
        socket.end('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
        socket.resume();
        await closed(socket);
        await served();
      });

      it('header lists over the limit', async () => {
        await withSession(async (session) => {
          // Limits hold from the moment the client knows of them.
          await once(session, 'remoteSettings');
          const stream = session.request(headers({ 'x-big': 'x'.repeat(60_000) }));
          stream.on('error', () => undefined);
          stream.resume();
          await closed(stream);
        });
        await served();
      });
    });
  });
