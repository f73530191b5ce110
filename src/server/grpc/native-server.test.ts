import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientHttp2Session, connect } from 'node:http2';
import { createServer } from 'node:net';
import { describe, it } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { frameMessage } from '../../protocol/grpc/wire-writer.ts';
import { native, nativeProblem } from '../../tensor/native.ts';
import { nativeTls } from '../../tensor/native-tls.ts';
import { echoServices } from '../../testing/echo-services.ts';
import { clientTls, serverTls } from '../../testing/tls.ts';
import { readHeaders, writeHeaders } from './native-text.ts';
import { type RunningGrpcServer, startGrpcServer } from './start-grpc-server.ts';

const skip = native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off');
const PATH = `/${INFERENCE_SERVICE}/ModelInfer`;
const { ModelInfer } = serviceDefinition(INFERENCE_SERVICE);

function message(model: string, floats: number): Buffer {
  return frameMessage(
    ModelInfer.requestSerialize({
      model_name: model,
      inputs: [{ name: 'x', datatype: 'FP32', shape: [floats] }],
      raw_input_contents: [Buffer.alloc(floats * 4)],
    }),
  );
}

function start(shared = false, port = 0, secure = false): Promise<RunningGrpcServer> {
  const services = echoServices();
  services.dataPlane.recording = false;
  const tls = secure ? serverTls() : undefined;
  return startGrpcServer(services, {
    host: '127.0.0.1',
    port,
    maxMessageBytes: 8 << 20,
    library: 'native',
    shared,
    tls,
  });
}

function dial(port: number, secure: boolean): ClientHttp2Session {
  return secure ? connect(`https://127.0.0.1:${port}`, clientTls()) : connect(`http://127.0.0.1:${port}`);
}

/** Ends a call with its status, '' where it was reset. */
function call(session: ClientHttp2Session, body: Buffer, drop: boolean): Promise<string> {
  return new Promise((resolve) => {
    const stream = session.request({ ':method': 'POST', ':path': PATH, 'content-type': 'application/grpc' });
    let status = '';
    stream.on('error', () => undefined);
    stream.on('trailers', (trailers) => {
      status = String(trailers['grpc-status']);
    });
    stream.on('close', () => resolve(status));
    stream.resume();
    stream.end(body);
    if (drop) setImmediate(() => stream.close());
  });
}

describe('the server of the addon', { skip }, () => {
  for (const secure of [false, true])
    it(`keeps nothing of connections and calls that have ended, however they ended${secure ? ', over TLS' : ''}`, async () => {
      setFlagsFromString('--expose-gc');
      const collect = runInNewContext('gc') as () => void;
      const server = await start(false, 0, secure);
      const bodies = [message('echo', 4), message('echo', 3000), message('echo', 100_000), message('hold', 4)];
      const round = async (times: number): Promise<number> => {
        for (let i = 0; i < times; i++) {
          const session = dial(server.port, secure);
          session.on('error', () => undefined);
          await once(session, 'connect');
          const calls = bodies.flatMap((body, kind) => [call(session, body, kind === 3), call(session, body, true)]);
          await Promise.all(calls);
          // Every second connection ends with calls under way.
          if (i % 2 === 0) void call(session, bodies[3], false);
          await new Promise((resolve) => setImmediate(resolve));
          session.destroy();
        }
        collect();
        await new Promise((resolve) => setTimeout(resolve, 50));
        collect();
        return process.memoryUsage().rss;
      };
      const before = await round(40);
      // Each connection moves about 2 MB: lost answers or requests would be 200 MB.
      const grown = (await round(120)) - before;
      assert.ok(grown < 60e6, `${grown} bytes more`);
      await server.close();
    });

  it('takes an empty message as the first one of all', async () => {
    const server = await start();
    const session = connect(`http://127.0.0.1:${server.port}`);
    // No model is named: what counts is that it is answered.
    assert.equal(await call(session, frameMessage(Buffer.alloc(0)), false), '');
    assert.equal(await call(session, message('echo', 1), false), '0');
    session.destroy();
    await server.close();
  });

  it('shares its port only when it is to, and says who does not', async () => {
    const first = await start(true);
    const second = await start(true, first.port);
    assert.equal(second.port, first.port);
    const sessions = Array.from({ length: 8 }, () => connect(`http://127.0.0.1:${first.port}`));
    for (const session of sessions) assert.equal(await call(session, message('echo', 1), false), '0');
    await assert.rejects(start(false, first.port), /listen EADDRINUSE: 127\.0\.0\.1:\d+/);
    for (const session of sessions) session.destroy();
    await Promise.all([first.close(), second.close()]);
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    await assert.rejects(start(false, port), /EADDRINUSE/);
    other.close();
    await assert.rejects(
      startGrpcServer(echoServices(), {
        host: 'no.such.host.invalid',
        port: 0,
        maxMessageBytes: 1024,
        library: 'native',
      }),
      /EADDRNOTAVAIL/,
    );
  });

  it('lets its thread end while it listens and has calls under way', async () => {
    const report = process.report.getReport() as unknown as { sharedObjects: string[] };
    const file = report.sharedObjects.find((object) => object.endsWith('switchyard.node'));
    const script = `
      const { workerData, parentPort } = require('node:worker_threads');
      const addon = require(workerData.file);
      const made = addon.grpcServer({}, () => parentPort.postMessage('told'), () => undefined);
      addon.grpcMethod(made.server, workerData.path, 0, 2);
      if (workerData.tls && (addon.grpcTlsProblem() || addon.grpcSecure(made.server, workerData.tls))) throw 'TLS';
      parentPort.postMessage(addon.grpcListen(made.server, '127.0.0.1', 0, false));`;
    for (const secure of [false, false, true]) {
      const tls = secure ? nativeTls(serverTls()) : undefined;
      const worker = new Worker(script, { eval: true, workerData: { file, path: PATH, tls } });
      const [port] = (await once(worker, 'message')) as [number];
      const session = dial(port, secure);
      session.on('error', () => undefined);
      const told = once(worker, 'message');
      const under = call(session, message('echo', 20_000), false);
      assert.deepEqual(await told, ['told']);
      await worker.terminate();
      assert.equal(await under, '');
      session.destroy();
    }
  });

  it('takes a closed server, ended calls and wrong arguments in silence or with a TypeError', async () => {
    const addon = native!;
    const { server } = addon.grpcServer(
      { maxStreams: 1, maxCollected: 1, maxConnections: 1, maxConnectionsPerAddress: 1 },
      () => undefined,
      () => undefined,
    );
    addon.grpcEnd(server, 5, 5, '', false);
    addon.grpcReset(server, -1, -1, 0);
    assert.equal(addon.grpcWrite(server, 0, 0, new Uint8Array(1)), 0);
    assert.equal(addon.grpcHeaders(server, 0, 0), '');
    addon.grpcClose(server);
    addon.grpcClose(server);
    addon.grpcFlush(server);
    assert.throws(() => addon.grpcFlush({}), TypeError);
    await new Promise((resolve) => setTimeout(resolve, 20));
    addon.grpcFlush(server);
  });
});

describe('headers as text', () => {
  it('are read as node:http2 has them, and written', () => {
    const text = ':path\0/a\0x\0one\0x\0two\0te\0trailers\0te\0again\0empty\0\0';
    assert.deepEqual({ ...readHeaders(text) }, { ':path': '/a', x: 'one, two', te: 'trailers', empty: '' });
    assert.equal(
      writeHeaders({ ':status': 200, a: ['1', '2'], b: undefined }),
      ':status\0' + '200\0a\0' + '1\0a\0' + '2\0',
    );
    assert.deepEqual({ ...readHeaders('') }, {});
  });
});
