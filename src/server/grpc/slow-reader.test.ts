import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientHttp2Session, type ClientHttp2Stream, connect, constants } from 'node:http2';
import { afterEach, beforeEach, describe, it } from 'node:test';
import type { ResponseObserver } from '../../pipeline/types.ts';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { frameMessage } from '../../protocol/grpc/wire-writer.ts';
import { native, nativeProblem } from '../../tensor/native.ts';
import { type EchoServices, echoServices } from '../../testing/echo-services.ts';
import { inferRequest, MAX_MESSAGE, until } from '../../testing/grpc-client.ts';
import { type RunningGrpcServer, startGrpcServer } from './start-grpc-server.ts';

const { ModelInfer } = serviceDefinition(INFERENCE_SERVICE);
const MIB = 1 << 20;

function message(model: string, id: string, bytes = 4): Buffer {
  const raw = Buffer.alloc(bytes);
  const inputs = [{ name: 'x', datatype: 'FP32', shape: [bytes / 4] }];
  return frameMessage(ModelInfer.requestSerialize(inferRequest(model, [], { id, inputs, raw_input_contents: [raw] })));
}

for (const library of ['native', 'node'] as const) {
  const skip = library === 'native' && native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off');
  describe(`clients of ${library} that read slowly, and those of a server that goes`, { skip }, () => {
    let services: EchoServices;
    let server: RunningGrpcServer;
    let session: ClientHttp2Session;

    beforeEach(async () => {
      services = echoServices();
      server = await startGrpcServer(services, {
        host: '127.0.0.1',
        port: 0,
        maxMessageBytes: MAX_MESSAGE,
        library,
      });
      // Requests that wait to be sent are the client's memory: it would refuse streams of its own beyond 10 MB.
      session = connect(`http://127.0.0.1:${server.port}`, { maxSessionMemory: 1000 });
      session.on('error', () => undefined);
      await once(session, 'connect');
    });
    afterEach(async () => {
      session.destroy();
      await server.close();
    });

    function call(method: string): ClientHttp2Stream {
      const stream = session.request({
        ':method': 'POST',
        ':path': `/${INFERENCE_SERVICE}/${method}`,
        'content-type': 'application/grpc',
        te: 'trailers',
      });
      stream.on('error', () => undefined);
      return stream;
    }

    /** Reads a call to its end: the bytes of its answers and its trailers. */
    async function readAll(stream: ClientHttp2Stream): Promise<{ bytes: number; trailers: Record<string, unknown> }> {
      let bytes = 0;
      let trailers: Record<string, unknown> = {};
      stream.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
      });
      stream.on('trailers', (given) => {
        trailers = given;
        // The answer is whole, whatever the request still had to say.
        stream.end();
      });
      await new Promise((resolve) => stream.once('close', resolve));
      return { bytes, trailers };
    }

    /** The model "flood": so many answers of a MiB to one request, all at once. */
    function flood(answers: number): void {
      const { infer } = services.dataPlane;
      services.dataPlane.infer = (request, context, observer: ResponseObserver) => {
        if (request.model !== 'flood') return infer.call(services.dataPlane, request, context, observer);
        const data = new Uint8Array(MIB);
        const outputs = [{ name: 'x', datatype: 'FP32' as const, shape: [MIB / 4], data }];
        const { model, id } = request;
        const response = { model, version: '1', id, outputs, parameters: {}, timings: undefined };
        setImmediate(() => {
          for (let i = 0; i < answers; i++) observer.onResponse(response, false);
        });
        return { cancel: () => void services.dataPlane.cancelled++ };
      };
    }

    it('have no more requests read while answers wait for them, and lose none', async () => {
      const stream = call('ModelStreamInfer');
      const total = 100;
      for (let i = 0; i < total; i++) stream.write(message('echo', `r${i}`, 256 * 1024));
      stream.end();
      await until(() => services.dataPlane.requests.length > 0);
      // Other calls of the same connection go on meanwhile.
      for (let i = 0; i < 50; i++) {
        const other = call('ServerLive');
        other.end(frameMessage(Buffer.alloc(0)));
        assert.equal((await readAll(other)).trailers['grpc-status'], '0');
      }
      assert.ok(services.dataPlane.requests.length < total / 2, `${services.dataPlane.requests.length} were read`);
      const { bytes, trailers } = await readAll(stream);
      assert.equal(trailers['grpc-status'], '0');
      assert.equal(services.dataPlane.requests.length, total);
      assert.ok(bytes > total * 256 * 1024, `${bytes} bytes came`);
    });

    it('are told to read faster, and their requests freed, beyond 64 MiB of answers', async () => {
      flood(200);
      const stream = call('ModelStreamInfer');
      stream.write(message('flood', 'r'));
      await until(() => services.dataPlane.cancelled === 1);
      const { bytes, trailers } = await readAll(stream);
      assert.equal(trailers['grpc-status'], '8');
      assert.match(String(trailers['grpc-message']), /bytes of answers are unread; read faster/);
      assert.ok(bytes > 64 * MIB && bytes < 80 * MIB, `${bytes} bytes were kept for it`);
      // The connection serves on.
      const next = call('ModelInfer');
      next.end(message('echo', 'next'));
      assert.equal((await readAll(next)).trailers['grpc-status'], '0');
    });

    if (library === 'native')
      it('get no more calls on a connection with 128 MiB of answers unread, until they have read', async () => {
        flood(50);
        const streams = Array.from({ length: 3 }, () => call('ModelStreamInfer'));
        for (const stream of streams) stream.write(message('flood', 'r'));
        let refused = 0;
        for (let i = 0; refused === 0 && i < 10_000; i++) {
          const more = call('ServerLive');
          more.end(frameMessage(Buffer.alloc(0)));
          await readAll(more);
          if (more.rstCode === constants.NGHTTP2_REFUSED_STREAM) refused++;
        }
        assert.equal(refused, 1);
        for (const stream of streams) {
          stream.end();
          stream.resume();
        }
        let served = '';
        for (let i = 0; served !== '0' && i < 10_000; i++) {
          const more = call('ServerLive');
          more.end(frameMessage(Buffer.alloc(0)));
          served = String((await readAll(more)).trailers['grpc-status']);
        }
        assert.equal(served, '0');
      });

    it('hear GOAWAY when the server drains; calls under way are answered, and new ones go elsewhere', async () => {
      let release: (() => void) | undefined;
      const { infer } = services.dataPlane;
      services.dataPlane.infer = (request, context, observer) => {
        if (request.model !== 'hold') return infer.call(services.dataPlane, request, context, observer);
        release = () => void infer.call(services.dataPlane, { ...request, model: 'echo' }, context, observer);
        return { cancel: () => undefined };
      };
      const held = call('ModelInfer');
      held.end(message('hold', 'held'));
      const answer = readAll(held);
      await until(() => release !== undefined);
      const goaway = once(session, 'goaway');
      const drained = server.drain();
      const [code, last] = (await goaway) as [number, number];
      assert.equal(code, constants.NGHTTP2_NO_ERROR);
      assert.ok(last >= (held.id ?? 0), `the held call, ${held.id}, is among those up to ${last}`);
      assert.throws(() => session.request({ ':path': '/' }), { code: /ERR_HTTP2_(GOAWAY_SESSION|INVALID_SESSION)/ });
      release!();
      assert.equal((await answer).trailers['grpc-status'], '0');
      await drained;
    });
  });
}
