import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type ClientHttp2Session, connect, type IncomingHttpHeaders, sensitiveHeaders } from 'node:http2';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import type { Served } from '../../pipeline/types.ts';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { frameMessage } from '../../protocol/grpc/wire-writer.ts';
import { native, nativeProblem } from '../../tensor/native.ts';
import { DATA_TYPES, ELEMENT_BYTES } from '../../tensor/tensor.ts';
import { type EchoServices, echoServices } from '../../testing/echo-services.ts';
import { clientTls, serverTls } from '../../testing/tls.ts';
import { carriesNatively, grpcLibrary } from './open-transport.ts';
import { type RunningGrpcServer, startGrpcServer } from './start-grpc-server.ts';

const PATH = `/${INFERENCE_SERVICE}/ModelInfer`;
const skip = native === undefined && (nativeProblem || 'SWITCHYARD_NATIVE=off');
const { ModelInfer } = serviceDefinition(INFERENCE_SERVICE);

interface Side {
  services: EchoServices;
  server: RunningGrpcServer;
  session: ClientHttp2Session;
}

async function open(library: 'native' | 'node', secure: boolean): Promise<Side> {
  const services = echoServices();
  services.dataPlane.recording = false;
  const server = await startGrpcServer(services, {
    host: '127.0.0.1',
    port: 0,
    maxMessageBytes: 1 << 20,
    library,
    tls: secure ? serverTls() : undefined,
  });
  const session = secure
    ? connect(`https://127.0.0.1:${server.port}`, clientTls())
    : connect(`http://127.0.0.1:${server.port}`);
  await once(session, 'connect');
  return { services, server, session };
}

interface Answer {
  headers: IncomingHttpHeaders;
  trailers: IncomingHttpHeaders;
  body: string;
}

/** One call: the pieces are written one by one. */
function ask({ session }: Side, pieces: readonly Buffer[], extra: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = session.request({
      ':method': 'POST',
      ':path': PATH,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...extra,
    });
    const answer: Answer = { headers: {}, trailers: {}, body: '' };
    const chunks: Buffer[] = [];
    stream.on('error', () => undefined);
    stream.on('response', (headers) => {
      delete headers.date;
      // The addon keeps ids out of the client's table of headers.
      Reflect.deleteProperty(headers, sensitiveHeaders);
      answer.headers = headers;
    });
    stream.on('trailers', (trailers) => {
      answer.trailers = trailers;
    });
    stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    stream.on('close', () => resolve({ ...answer, body: Buffer.concat(chunks).toString('hex') }));
    for (const piece of pieces) stream.write(piece);
    stream.end();
  });
}

const name = fc.oneof(fc.constantFrom('x', 'y', 'input_0'), fc.string({ unit: 'binary', maxLength: 70 }));

const tensor = fc
  .record({
    name,
    datatype: fc.constantFrom(...DATA_TYPES),
    shape: fc.array(fc.nat(4), { maxLength: 10 }),
  })
  .chain((input) => {
    const count = input.shape.reduce((product, dim) => product * dim, 1);
    const size = ELEMENT_BYTES[input.datatype];
    const raw =
      size > 0
        ? fc.uint8Array({ minLength: Math.min(count, 500) * size, maxLength: Math.min(count, 500) * size })
        : fc
            .array(fc.uint8Array({ maxLength: 5 }), { minLength: Math.min(count, 9), maxLength: Math.min(count, 9) })
            .map((elements) => {
              const parts = elements.flatMap((element) => {
                const length = Buffer.alloc(4);
                length.writeUInt32LE(element.length);
                return [length, element];
              });
              return Buffer.concat(parts);
            });
    return raw.map((bytes) => ({ input, bytes: Buffer.from(bytes) }));
  });

/** Requests of which most are well formed. */
const request = fc
  .record({
    model: fc.constantFrom('echo', 'echo', 'echo', 'echo', 'echo', 'stream', 'shed', 'nope', ''),
    version: fc.constantFrom('', '', '1', 'ü'),
    id: fc.oneof(fc.constant(''), fc.string({ unit: 'binary', maxLength: 20 })),
    tensors: fc.array(tensor, { maxLength: 4 }),
    outputs: fc.array(name, { maxLength: 3 }),
    drop: fc.nat(20),
    parameters: fc.option(
      fc.constantFrom({ priority: { int64_param: 2 } }, { triton_x: { bool_param: true } }, { a: {} }),
      { freq: 1 },
    ),
  })
  .map(({ model, version, id, tensors, outputs, drop, parameters }) =>
    ModelInfer.requestSerialize({
      model_name: model,
      model_version: version,
      id,
      inputs: tensors.map(({ input }) => input),
      outputs: outputs.map((output) => ({ name: output })),
      parameters: parameters ?? {},
      raw_input_contents: tensors.map(({ bytes }) => bytes).slice(0, drop === 0 ? -1 : undefined),
    }),
  );

for (const secure of [false, true])
  describe(`the addon and node:http2 answer alike${secure ? ' over TLS' : ''}`, { skip }, () => {
    // What the bytes mean is the same over TLS: there, it is how they arrive that is tried.
    const numRuns = secure ? 60 : 250;
    let sides: Side[];
    before(async () => {
      sides = [await open('native', secure), await open('node', secure)];
    });
    after(async () => {
      for (const { session, server } of sides) {
        session.destroy();
        await server.close();
      }
    });

    async function alike(pieces: readonly Buffer[], extra: Record<string, string> = {}): Promise<Answer> {
      const [ours, twins] = await Promise.all(sides.map((side) => ask(side, pieces, extra)));
      assert.deepEqual(ours, twins);
      return ours;
    }

    it('requests of all shapes', async () => {
      let answered = 0;
      await fc.assert(
        fc.asyncProperty(request, async (message) => {
          const { trailers } = await alike([frameMessage(message)]);
          if (trailers['grpc-status'] === '0') answered++;
        }),
        { numRuns },
      );
      assert.ok(answered > numRuns / 5, `only ${answered} of ${numRuns} were answered`);
    });

    it('requests with some bytes changed', async () => {
      const change = fc.record({ at: fc.nat(), to: fc.integer({ min: 0, max: 255 }) });
      await fc.assert(
        fc.asyncProperty(request, fc.array(change, { minLength: 1, maxLength: 3 }), async (message, changes) => {
          const bytes = Buffer.from(message);
          for (const { at, to } of changes) if (bytes.length > 0) bytes[at % bytes.length] = to;
          await alike([frameMessage(bytes)]);
        }),
        { numRuns },
      );
    });

    it('requests in pieces, cut short, and with too much', async () => {
      await fc.assert(
        fc.asyncProperty(request, fc.nat(), fc.integer({ min: -3, max: 3 }), async (message, where, more) => {
          const frame = frameMessage(message);
          const whole = more > 0 ? Buffer.concat([frame, Buffer.alloc(more)]) : frame.subarray(0, frame.length + more);
          const cut = where % (whole.length + 1);
          // What comes behind a message may be seen before or after the answer has left.
          if (more <= 0) await alike([whole.subarray(0, cut), whole.subarray(cut)]);
          else await Promise.all(sides.map((side) => ask(side, [whole])));
        }),
        { numRuns: Math.min(numRuns, 100) },
      );
    });

    it('errors told before the request has ended arrive, also when a client is being asked to stop', async () => {
      const frame = frameMessage(ModelInfer.requestSerialize({ model_name: 'stream' }));
      for (let i = 0; i < 500; i++) {
        const { headers } = await alike([frame.subarray(0, 4), frame.subarray(4)]);
        assert.equal(headers['grpc-status'], '12');
      }
    });

    it('large tensors', async () => {
      for (const count of [1023, 1024, 1025, 20_000, 65_536, 200_000]) {
        const raw = Buffer.alloc(count * 4, 'switchyard');
        const message = ModelInfer.requestSerialize({
          model_name: 'echo',
          inputs: [{ name: 'x', datatype: 'FP32', shape: [count] }],
          raw_input_contents: [raw],
        });
        const { body, trailers } = await alike([frameMessage(message)]);
        assert.equal(trailers['grpc-status'], '0');
        assert.ok(body.endsWith(raw.toString('hex')), `${count} floats`);
      }
    });

    it('headers that matter', async () => {
      const frame = frameMessage(ModelInfer.requestSerialize({ model_name: 'echo' }));
      const cases: Record<string, string>[] = [
        { 'grpc-timeout': '5S' },
        { 'grpc-timeout': '0n' },
        { 'grpc-timeout': '123456789S' },
        { 'grpc-timeout': '1x' },
        { 'grpc-encoding': 'identity' },
        { 'grpc-encoding': 'gzip' },
        { 'grpc-encoding': 'zstd' },
        { 'content-type': 'application/grpc+json' },
        { 'content-type': 'text/html' },
        { ':method': 'PUT' },
        { ':path': `/${INFERENCE_SERVICE}/ServerLive` },
        { ':path': '/' },
      ];
      for (const extra of cases) {
        await alike([frame], extra);
      }
    });

    it('who answered', async () => {
      const planes = sides.map(({ services }) => services.dataPlane);
      const ids = { prefix: 'random-', next: () => 0, text: (number: number) => `random-${number.toString(36)}` };
      const cases: Served[] = [0, 1, 35, 36, 1e6, 2 ** 31, 2 ** 52].flatMap((number) => {
        const id = ids.text(number);
        return ['', 'stable', 'next'].map((variant) => ({ id, ids, number, variant, version: variant && '7' }));
      });
      cases.push({ id: 'a', variant: 'stable', version: '8' }, { id: '', variant: '', version: '' });
      cases.push({ ...cases[1], anomalies: 'x:RANGE, y:TYPE' });
      for (const plane of planes) plane.serve = ({ id }) => cases[Number(id)];
      for (const model_name of ['echo', 'shed']) {
        for (const [i, { id, variant, version, anomalies }] of cases.entries()) {
          const { headers } = await alike([frameMessage(ModelInfer.requestSerialize({ model_name, id: String(i) }))]);
          const told = ['id', 'variant', 'version', 'anomalies'].map((name) => headers[`x-switchyard-${name}`]);
          assert.deepEqual(told, [id || undefined, variant || undefined, version || undefined, anomalies]);
        }
      }
      for (const plane of planes) plane.serve = undefined;
    });

    it('what the metadata of a request say', async () => {
      const planes = sides.map(({ services }) => services.dataPlane);
      const frame = frameMessage(ModelInfer.requestSerialize({ model_name: 'echo' }));
      const names = ['x-user', 'none', 'te', 'cookie'];
      const read: unknown[][] = planes.map(() => []);
      for (const [i, plane] of planes.entries()) {
        plane.routed = { names, units: [] };
        // During the call: its metadata go with it.
        plane.serve = (_, { traceparent, headers }) => {
          read[i].push([traceparent, ...names.map((name) => headers?.header(name))]);
          return undefined;
        };
      }
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      const user = (value: string | string[]) => ({ 'x-user': value as string });
      for (const extra of [{}, { traceparent }, user('a'), user(['a', 'b']), { ...user('ü'), traceparent }, user('')])
        await alike([frame], extra as Record<string, string>);
      assert.deepEqual(read[0], read[1]);
      assert.deepEqual(read[0][2], ['', 'a', undefined, 'trailers', undefined]);
      assert.deepEqual(read[0][3], ['', 'a, b', undefined, 'trailers', undefined]);
      for (const plane of planes) {
        plane.serve = undefined;
        plane.routed = { names: [], units: [] };
      }
    });

    it('many calls at once keep their answers apart', async () => {
      const [ours] = sides;
      await Promise.all(
        Array.from({ length: 900 }, async (_, i) => {
          const id = `call-${i}`;
          const { body } = await ask(ours, [frameMessage(ModelInfer.requestSerialize({ model_name: 'echo', id }))]);
          assert.ok(Buffer.from(body, 'hex').includes(id));
        }),
      );
    });
  });

describe('grpcLibrary', () => {
  it('takes its three values and nothing else', () => {
    assert.deepEqual([undefined, '', 'auto', 'native', 'node'].map(grpcLibrary), [
      'auto',
      'auto',
      'auto',
      'native',
      'node',
    ]);
    assert.throws(() => grpcLibrary('grpc-js'), /SWITCHYARD_GRPC is "grpc-js"; allowed are native, node and auto/);
    assert.equal(carriesNatively('node', false), false);
  });
});
