import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, it } from 'node:test';
import zlib from 'node:zlib';
import { SwitchyardError } from '../../../shared/errors.ts';
import { echo, type FakeServices, fakeServices } from '../../../testing/http-services.ts';
import { speak } from '../../../testing/raw-http.ts';
import { SOCKET_LIBRARIES } from '../../../testing/socket-libraries.ts';
import type { HttpServer } from '../socket.ts';
import { startHttpServer } from '../start.ts';

const ECHO = '/v2/models/echo/infer';

/** Parsed JSON of unknown shape: any path into it type-checks, whatever it holds is up to the assertion. */
type Loose = string & Loose[] & { [key: string]: Loose };

function inferBody(more: Record<string, unknown> = {}, data: unknown[] = [1, 2, 3, 4]): string {
  return JSON.stringify({ id: 'r1', inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data }], ...more });
}

function binaryBody(values: number[]): { body: Buffer; jsonLength: number } {
  const json = Buffer.from(
    JSON.stringify({
      inputs: [
        { name: 'x', datatype: 'FP32', shape: [1, values.length], parameters: { binary_data_size: values.length * 4 } },
      ],
      parameters: { binary_data_output: true },
    }),
  );
  return { body: Buffer.concat([json, Buffer.from(Float32Array.from(values).buffer)]), jsonLength: json.length };
}

for (const library of SOCKET_LIBRARIES) {
  describe(`the inference port on ${library}`, () => {
    let services: FakeServices;
    let server: HttpServer;
    before(async () => {
      services = fakeServices();
      server = await startHttpServer(services, {
        host: '127.0.0.1',
        port: 0,
        library,
        log: { warn: () => assert.fail('no warning expected') },
        settings: { maxStreamBacklogBytes: 1 << 20 },
      });
    });
    after(() => server.close(0));
    beforeEach(() => {
      services.dataPlane.held = undefined;
      services.dataPlane.behaviour = undefined;
      services.dataPlane.contexts.length = 0;
      services.dataPlane.requests.length = 0;
      services.calls.length = 0;
      Object.assign(services.admission, {
        enabled: false,
        slow: false,
        gate: undefined,
        admitting: 0,
        admitted: 0,
        released: 0,
      });
      services.isReady = true;
    });

    const call = async (
      method: string,
      path: string,
      body?: string | Uint8Array,
      headers: Record<string, string> = {},
    ): Promise<{ status: number; headers: Headers; bytes: Buffer; json: Loose }> => {
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
        method,
        headers: { 'accept-encoding': '', ...headers },
        ...(body === undefined ? {} : { body }),
      });
      const bytes = Buffer.from(await response.arrayBuffer());
      let json: Loose;
      try {
        json = JSON.parse(bytes.toString());
      } catch {
        json = '' as Loose;
      }
      return { status: response.status, headers: response.headers, bytes, json };
    };
    const settle = async (condition: () => boolean): Promise<void> => {
      for (let i = 0; i < 12_000 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.ok(condition(), 'the expected state was not reached');
    };

    it('infers JSON', async () => {
      const got = await call('POST', ECHO, inferBody());
      assert.equal(got.status, 200);
      assert.equal(got.headers.get('content-type'), 'application/json');
      assert.deepEqual(got.json, {
        model_name: 'echo',
        model_version: '1',
        id: 'r1',
        outputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }],
      });
      assert.equal(
        got.headers.get('server-timing'),
        'queue;dur=0.250, compute_input;dur=0, compute_infer;dur=1.500, compute_output;dur=0.001, batch;desc="4"',
      );
    });

    it('keeps the tensors of requests apart while they wait together', async () => {
      services.dataPlane.held = [];
      const replies = Array.from({ length: 20 }, (_, i) =>
        call('POST', ECHO, inferBody({ id: `r${i}` }, [i, i, i, i])),
      );
      await settle(() => services.dataPlane.held?.length === 20);
      const held = services.dataPlane.held;
      services.dataPlane.held = undefined;
      for (const { request, observer } of held) echo(request, observer);
      for (const [i, reply] of (await Promise.all(replies)).entries()) {
        assert.equal(reply.json.id, `r${i}`);
        assert.deepEqual(reply.json.outputs[0].data, [i, i, i, i]);
      }
    });

    it('names the record of a request that it refuses before it is read, where there is one', async () => {
      const plain = await call('POST', ECHO, '{');
      assert.deepEqual([plain.status, plain.headers.get('x-switchyard-id')], [400, null]);
      services.dataPlane.refusal = { id: 'r-1', variant: '', version: '' };
      const named = await call('POST', ECHO, '{');
      assert.deepEqual(
        [named.status, named.headers.get('x-switchyard-id'), named.headers.get('x-switchyard-variant')],
        [400, 'r-1', null],
      );
      assert.deepEqual(named.json, plain.json);
      services.dataPlane.refusal = undefined;
    });

    it('infers binary tensors and names the length of the JSON', async () => {
      const values = [1.5, -2.5, 3.25, Number.POSITIVE_INFINITY];
      const { body, jsonLength } = binaryBody(values);
      const got = await call('POST', ECHO, body, { 'Inference-Header-Content-Length': String(jsonLength) });
      assert.equal(got.status, 200, got.bytes.toString());
      const length = Number(got.headers.get('inference-header-content-length'));
      const json = JSON.parse(got.bytes.subarray(0, length).toString());
      assert.equal(json.outputs[0].parameters.binary_data_size, 16);
      assert.deepEqual(got.bytes.subarray(length), Buffer.from(Float32Array.from(values).buffer));
    });

    it('infers a raw body', async () => {
      const got = await call('POST', ECHO, Buffer.from(Float32Array.of(4, 3, 2, 1).buffer), {
        'Inference-Header-Content-Length': '0',
      });
      assert.equal(got.status, 200, got.bytes.toString());
      assert.deepEqual(services.dataPlane.requests[0].inputs[0].shape, [1, 4]);
      assert.deepEqual(got.bytes.subarray(-16), Buffer.from(Float32Array.of(4, 3, 2, 1).buffer));
    });

    it('answers classifications with labels', async () => {
      const outputs = [{ name: 'x', parameters: { classification: 2 } }];
      const got = await call('POST', '/v2/models/scores/infer', inferBody({ outputs }, [0, 9, 1, 5]));
      assert.equal(got.status, 200, got.bytes.toString());
      assert.deepEqual(got.json.outputs[0].shape, [1, 2]);
      assert.match(got.json.outputs[0].data[0], /^9(\.0*)?:1:dog$/);
      assert.match(got.json.outputs[0].data[1], /^5(\.0*)?:3:elk$/);
    });

    it('decompresses gzip and deflate bodies, small and large', async () => {
      const { body, jsonLength } = binaryBody(Array.from({ length: 4000 }, (_, i) => Math.sin(i)));
      for (const [encoding, pack] of [
        ['gzip', zlib.gzipSync],
        ['deflate', zlib.deflateSync],
      ] as const) {
        const small = await call('POST', ECHO, pack(inferBody()), { 'Content-Encoding': encoding });
        assert.deepEqual(small.json.outputs[0].data, [1, 2, 3, 4]);
        const large = await call('POST', ECHO, pack(body), {
          'Content-Encoding': encoding,
          'Inference-Header-Content-Length': String(jsonLength),
        });
        assert.equal(large.status, 200);
        assert.ok(large.bytes.subarray(-16_000).equals(body.subarray(-16_000)));
      }
    });

    it('refuses other codings, corrupt bodies and bombs, and serves on', async () => {
      const refuse = async (encoding: string, body: Uint8Array): Promise<{ status: number; json: Loose }> =>
        call('POST', ECHO, body, { 'Content-Encoding': encoding });
      assert.equal((await refuse('br', zlib.brotliCompressSync('{}'))).status, 501);
      assert.equal((await refuse('gzip, gzip', zlib.gzipSync(zlib.gzipSync('{}')))).status, 501);
      assert.equal((await refuse('gzip', Buffer.from('no gzip'))).status, 400);
      assert.equal((await refuse('gzip', zlib.gzipSync('x'.repeat(5000)).subarray(0, 20))).status, 400);
      const bomb = await refuse('gzip', zlib.gzipSync(Buffer.alloc(64 << 20)));
      assert.equal(bomb.status, 413);
      assert.match(bomb.json.error, /decompresses to more than 1048576 bytes/);
      assert.equal((await call('POST', ECHO, inferBody())).status, 200);
    });

    it('compresses 200 infer bodies for those who ask, and nothing else', async () => {
      const large = JSON.stringify({
        inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 9000], data: Array(9000).fill(0.5) }],
      });
      const { body, jsonLength } = binaryBody(Array(9000).fill(0.5));
      const length = { 'Inference-Header-Content-Length': String(jsonLength) };
      const encodings = async (accept: string): Promise<(string | null)[]> => {
        const list: (string | null)[] = [];
        const asking = { 'accept-encoding': accept };
        const replies = [
          await call('POST', ECHO, large, asking),
          await call('POST', ECHO, body, { ...asking, ...length }),
          await call('POST', ECHO, inferBody(), asking),
          await call('GET', '/v2', undefined, asking),
          await call('POST', ECHO, `{"inputs":"${'x'.repeat(9000)}"}`, asking),
        ];
        assert.deepEqual(replies[0].json.outputs[0].data, Array(9000).fill(0.5));
        const jsonPart = Number(replies[1].headers.get('inference-header-content-length'));
        assert.equal(JSON.parse(replies[1].bytes.subarray(0, jsonPart).toString()).model_name, 'echo');
        for (const reply of replies) list.push(reply.headers.get('content-encoding'));
        return list;
      };
      assert.deepEqual(await encodings('gzip, deflate'), ['gzip', null, null, null, null]);
      assert.deepEqual(await encodings('gzip'), ['gzip', 'gzip', null, null, null]);
      assert.deepEqual(await encodings('deflate'), ['deflate', 'deflate', null, null, null]);
      assert.deepEqual(await encodings('br, gzip;q=0'), [null, null, null, null, null]);
    });

    it('joins several tracestate headers in their order, as W3C Trace Context has it', async () => {
      const body = inferBody();
      const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      const head = `POST ${ECHO} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\ntraceparent: ${trace}\r\n`;
      // The addon learns of the name with the first request.
      for (const lines of [
        'tracestate: a=1\r\nTraceState: b=2,c=3\r\ntracestate: \r\nx-other: x\r\ntracestate: d=4\r\n',
        'tracestate: a=1\r\ntracestate: b=2,c=3\r\ntracestate: d=4\r\n',
        'tracestate: a=1,b=2,c=3,d=4\r\n',
      ]) {
        services.dataPlane.contexts.length = 0;
        await speak(server.port, [`${head}${lines}\r\n${body}`], /model_name/);
        assert.equal(services.dataPlane.contexts[0].tracestate, 'a=1,b=2,c=3,d=4');
      }
    });

    it('passes deadline, priority and trace context on', async () => {
      const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
      await call('POST', ECHO, inferBody({ parameters: { timeout: 5_000_000, priority: 3 } }), {
        'X-Request-Timeout-Ms': '250',
        traceparent: trace,
        tracestate: 'rojo=00f067aa0ba902b7',
      });
      await call('POST', ECHO, inferBody({ parameters: { timeout: 1000 } }), { 'X-Switchyard-Priority': '1' });
      await call('POST', ECHO, inferBody());
      const [first, second, third] = services.dataPlane.contexts;
      assert.ok(Math.abs(first.deadline - first.receivedAt - 250) < 1e-6);
      assert.equal(first.priority, 3);
      assert.deepEqual([first.traceparent, first.tracestate], [trace, 'rojo=00f067aa0ba902b7']);
      assert.equal(first.protocol, 'http');
      assert.ok(Math.abs(second.deadline - second.receivedAt - 1) < 1e-6);
      assert.equal(second.priority, 1);
      assert.equal(third.deadline, Infinity);
      for (const [header, value] of [
        ['X-Request-Timeout-Ms', 'soon'],
        ['X-Request-Timeout-Ms', '-1'],
        ['X-Switchyard-Priority', 'high'],
        ['Inference-Header-Content-Length', '1e3'],
        ['Inference-Header-Content-Length', '99999999999'],
        ['Inference-Header-Content-Length', '-1'],
      ]) {
        const got = await call('POST', ECHO, inferBody(), { [header]: value });
        assert.equal(got.status, 400, `${header}: ${value}`);
        assert.match(got.json.error, new RegExp(value === '99999999999' ? value : value.slice(0, 4)));
      }
      assert.equal((await call('POST', ECHO, inferBody({ parameters: { timeout: 'x' } }))).status, 400);
    });

    for (const slow of [false, true]) {
      it(`admits, refuses and releases once${slow ? ' when admission answers later' : ''}`, async () => {
        Object.assign(services.admission, { enabled: true, slow });
        const denied = await call('POST', ECHO, inferBody());
        assert.equal(denied.status, 401);
        assert.equal(denied.headers.get('content-type'), 'application/json');
        const busy = await call('POST', ECHO, inferBody(), { 'X-Api-Key': 'busy' });
        assert.equal(busy.status, 429);
        assert.equal(busy.headers.get('retry-after'), '3');
        assert.equal(services.admission.admitted, 0);
        assert.equal(services.dataPlane.requests.length, 0);

        const good = await call('POST', ECHO, inferBody({ parameters: { priority: 1 } }), {
          Authorization: 'Bearer good',
        });
        assert.equal(good.status, 200);
        assert.equal(services.dataPlane.contexts[0].tenant, 'good');
        assert.equal(services.dataPlane.contexts[0].maxPriority, 2, 'level 1 is above what the tenant may ask for');
        assert.equal((await call('POST', ECHO, '{', { 'X-Api-Key': 'good' })).status, 400);
        assert.equal(
          (await call('POST', '/v2/models/missing/infer', inferBody(), { 'X-Api-Key': 'good' })).status,
          404,
        );
        assert.equal(services.admission.admitted, 3);
        assert.equal(services.admission.released, 3);

        const open = await call('GET', '/v2/health/ready');
        assert.equal(open.status, 200);
        assert.equal((await call('GET', '/v2')).status, 401);
        assert.equal((await call('GET', '/v2', undefined, { 'X-Api-Key': 'good' })).status, 200);
        const load = '/v2/repository/models/echo/load';
        assert.equal((await call('POST', load, undefined, { 'X-Api-Key': 'good' })).status, 403);
        assert.equal((await call('POST', '/v2/logging', '{}', { 'X-Api-Key': 'good' })).status, 403);
        assert.equal((await call('POST', '/v2/trace/setting', '{}', { 'X-Api-Key': 'good' })).status, 403);
        assert.equal(services.calls.length, 0);
        assert.equal((await call('GET', '/v2/logging', undefined, { 'X-Api-Key': 'good' })).status, 200);
        assert.equal((await call('POST', load, undefined, { 'X-Api-Key': 'boss' })).status, 200);
      });
    }

    it('cancels what clients leave behind, and releases it once', async () => {
      services.admission.enabled = true;
      services.dataPlane.held = [];
      const before = services.dataPlane.cancelled;
      const leavers = Array.from({ length: 120 }, () => {
        const abort = new AbortController();
        const reply = fetch(`http://127.0.0.1:${server.port}${ECHO}`, {
          method: 'POST',
          body: inferBody(),
          headers: { 'X-Api-Key': 'good' },
          signal: abort.signal,
        });
        return { abort, gone: assert.rejects(reply) };
      });
      await settle(() => services.dataPlane.held?.length === 120);
      const held = [...services.dataPlane.held];
      for (const { abort } of leavers) abort.abort();
      await Promise.all(leavers.map(({ gone }) => gone));
      await settle(() => services.dataPlane.cancelled - before === 120);
      for (const { request, observer } of held) echo(request, observer);
      assert.equal(services.admission.admitted, 120);
      assert.equal(services.admission.released, 120);
      assert.equal(services.dataPlane.held.length, 0);
      services.dataPlane.held = undefined;
      assert.equal((await call('POST', ECHO, inferBody(), { 'X-Api-Key': 'good' })).status, 200);
    });

    it('gives back what is admitted after the client left', async () => {
      let openGate = (): void => {};
      const gate = new Promise<void>((resolve) => {
        openGate = resolve;
      });
      Object.assign(services.admission, { enabled: true, slow: true, gate });
      const abort = new AbortController();
      const reply = fetch(`http://127.0.0.1:${server.port}${ECHO}`, {
        method: 'POST',
        body: inferBody(),
        headers: { 'X-Api-Key': 'good' },
        signal: abort.signal,
      });
      await settle(() => services.admission.admitting === 1);
      abort.abort();
      await assert.rejects(reply);
      await settle(() => server.inFlight() === 0);
      openGate();
      await settle(() => services.admission.admitted === 1);
      await settle(() => services.admission.released === 1);
      assert.equal(services.dataPlane.requests.length, 0);
    });

    it('answers large predict bodies as small ones', async () => {
      const rows = Array.from({ length: 2 }, (_, row) => Array.from({ length: 50_000 }, (_, i) => row + i / 8));
      const answer = await call('POST', '/v1/models/echo:predict', JSON.stringify({ instances: rows }));
      assert.equal(answer.status, 200);
      assert.deepEqual(answer.json.predictions, rows);
      const ragged = await call('POST', '/v1/models/echo:predict', JSON.stringify({ instances: [...rows, [1]] }));
      assert.equal(ragged.status, 400);
      assert.match(ragged.json.error, /instance 2 has shape/);
    });

    it('lets others through while it prints a large answer, and stops when its client leaves', async () => {
      services.admission.enabled = true;
      services.dataPlane.held = [];
      const headers = { 'X-Api-Key': 'good' };
      const data = Array.from({ length: 100_000 }, (_, i) => i / 8);
      const body = JSON.stringify({ inputs: [{ name: 'x', datatype: 'FP32', shape: [1, data.length], data }] });
      const abort = new AbortController();
      const leaver = fetch(`http://127.0.0.1:${server.port}${ECHO}`, {
        method: 'POST',
        body,
        headers,
        signal: abort.signal,
      });
      const gone = assert.rejects(leaver);
      await settle(() => services.dataPlane.held?.length === 1);
      const large = call('POST', ECHO, body, headers);
      await settle(() => services.dataPlane.held?.length === 2);
      const small = call('POST', ECHO, inferBody(), headers);
      await settle(() => services.dataPlane.held?.length === 3);
      for (const { request, observer } of services.dataPlane.held.slice()) echo(request, observer);
      assert.equal(services.admission.released, 1, 'only the small one is answered in this turn');
      abort.abort();
      assert.equal((await small).status, 200);
      assert.deepEqual((await large).json.outputs[0].data, data);
      await gone;
      await settle(() => services.admission.released === 3 && server.inFlight() === 0);
    });

    it('keeps answers apart that are compressed at the same time', async () => {
      services.dataPlane.held = [];
      const replies = Array.from({ length: 8 }, (_, i) => {
        const input = { name: 'x', datatype: 'FP32', shape: [1, 50_000], data: Array(50_000).fill(i) };
        return call('POST', ECHO, JSON.stringify({ inputs: [input] }), { 'accept-encoding': 'gzip' });
      });
      await settle(() => services.dataPlane.held?.length === 8);
      for (const { request, observer } of services.dataPlane.held) echo(request, observer);
      for (const [i, reply] of (await Promise.all(replies)).entries()) {
        assert.equal(reply.headers.get('content-encoding'), 'gzip');
        assert.deepEqual(new Set(reply.json.outputs[0].data as unknown as number[]), new Set([i]));
      }
    });

    it('maps errors to statuses, and hides those that are not its own', async () => {
      const cases: [() => never, number, RegExp][] = [
        [() => fail(new SwitchyardError('deadline_exceeded', 'too late')), 504, /too late/],
        [() => fail(new SwitchyardError('unavailable', 'no executor')), 503, /no executor/],
        [() => fail(new Error('ENOENT /srv/secret')), 500, /^internal error$/],
      ];
      for (const [behaviour, status, message] of cases) {
        services.dataPlane.behaviour = behaviour;
        const got = await call('POST', ECHO, inferBody());
        assert.equal(got.status, status);
        assert.match(got.json.error, message);
        assert.equal(got.headers.get('retry-after'), status === 503 ? '1' : null);
      }
    });

    it('refuses bad bodies naming what is wrong, and serves the next request on the connection', async () => {
      const bad: [string, RegExp][] = [
        ['', /./],
        ['{"inputs":', /./],
        ['['.repeat(100_000), /./],
        [inferBody({}, [1, 2, 3]), /x/],
        ['{"inputs":[{"name":"x","datatype":"FP32","shape":[16,1152921504606846978],"data":[1]}]}', /shape|x/],
        ['{"inputs":[{"name":"x","datatype":"FP32","shape":[2,-5],"data":[1]}]}', /shape|x/],
        ['{"inputs":[{"name":"__proto__","datatype":"FP32","shape":[1],"data":[1]}]}', /__proto__/],
        ['{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1e400]}]}', /./],
      ];
      for (const [body, message] of bad) {
        const request = `POST ${ECHO} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
        const next = 'GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n';
        const { text } = await speak(server.port, [request + next], /"live":true\}$/);
        assert.match(text, /^HTTP\/1\.1 400 Bad Request\r\n/, body.slice(0, 80));
        assert.match(text, message);
        assert.match(text, /"live":true\}$/);
      }
    });

    it('answers 404, 405 and bad names as JSON errors', async () => {
      const cases: [string, string, number][] = [
        ['GET', '/nothing', 404],
        ['GET', '/v2/models/echo/nothing', 404],
        ['GET', '/v2/models/echo/versions/1/infer/x', 404],
        ['GET', '/v2/models/..%2f..%2fetc/config', 400],
        ['GET', '/v2/models/%ff/config', 400],
        ['GET', `/v2/models/${'a'.repeat(129)}/config`, 400],
        ['GET', '/v2/models/__proto__/config', 400],
        ['GET', '/v2/models/constructor/config', 404],
        ['GET', '/v2/models/echo/versions/one', 400],
        ['GET', '/v2/models/echo/versions/9', 404],
        ['GET', '/v2/models/broken', 503],
        ['GET', ECHO, 405],
        ['DELETE', '/v2', 405],
        ['POST', '/v2/health/live', 405],
        ['GET', '/v2/repository/index', 405],
      ];
      for (const [method, path, status] of cases) {
        const got = await call(method, path);
        assert.equal(got.status, status, `${method} ${path}`);
        assert.equal(got.headers.get('content-type'), 'application/json');
        assert.equal(typeof got.json.error, 'string');
      }
      assert.equal((await call('GET', ECHO)).headers.get('allow'), 'POST');
      assert.equal((await call('PUT', '/v2/logging')).headers.get('allow'), 'GET, HEAD, POST');
    });

    it('answers health', async () => {
      assert.deepEqual((await call('GET', '/')).json, { status: 'alive' });
      assert.deepEqual((await call('GET', '/v2/health/live')).json, { live: true });
      assert.deepEqual((await call('GET', '/v2/health/ready')).json, { ready: true });
      services.isReady = false;
      const unready = await call('GET', '/v2/health/ready');
      assert.equal(unready.status, 503);
      assert.equal(unready.headers.get('connection'), 'close');
      assert.deepEqual((await call('GET', '/v2/health/live')).json, { live: true });
      const ready = async (path: string): Promise<number> => (await call('GET', `/v2/models/${path}/ready`)).status;
      assert.equal(await ready('echo'), 200);
      assert.equal(await ready('echo/versions/1'), 200);
      assert.equal(await ready('echo/versions/2'), 503);
      assert.equal(await ready('broken'), 503);
      assert.equal(await ready('missing'), 404);
    });

    it('answers metadata, configuration, statistics and the list of models', async () => {
      assert.equal((await call('GET', '/v2')).json.name, 'switchyard');
      assert.deepEqual((await call('GET', '/v2/models')).json, { models: ['echo', 'scores', 'sleeping'] });
      const metadata = (await call('GET', '/v2/models/echo/')).json;
      assert.deepEqual(metadata.inputs, [{ name: 'x', datatype: 'FP32', shape: [-1, 4] }]);
      assert.equal((await call('GET', '/v2/models/echo/versions/1/config')).json.max_batch_size, 8);
      assert.deepEqual((await call('GET', '/v2/models/stats')).json, { model_stats: [] });
      await call('GET', '/v2/models/echo/versions/1/stats');
      assert.deepEqual(services.calls, [
        ['statistics', '', ''],
        ['statistics', 'echo', '1'],
      ]);
    });

    it('controls the repository', async () => {
      const index = await call('POST', '/v2/repository/index', '{"ready":true}');
      assert.deepEqual(index.json[0], { name: 'echo', version: '1', state: 'READY', reason: '' });
      assert.equal((await call('POST', '/v2/repository/index')).status, 200);
      const parameters = {
        config: '{"backend":"onnx"}',
        'file:1/model.onnx': Buffer.from('bytes!').toString('base64'),
      };
      const load = await call('POST', '/v2/repository/models/fresh/load', JSON.stringify({ parameters }));
      assert.equal(load.status, 200);
      const unload = { parameters: { unload_dependents: true } };
      assert.equal((await call('POST', '/v2/repository/models/fresh/unload', JSON.stringify(unload))).status, 200);
      const [first, second, loaded, unloaded] = services.calls;
      assert.deepEqual(
        [first, second],
        [
          ['index', true],
          ['index', false],
        ],
      );
      assert.deepEqual(loaded.slice(0, 3), ['load', 'fresh', '{"backend":"onnx"}']);
      const files = loaded[3] as Map<string, Uint8Array>;
      assert.equal(Buffer.from(files.get('1/model.onnx')!).toString(), 'bytes!');
      assert.deepEqual(unloaded, ['unload', 'fresh', true]);
      assert.equal((await call('POST', '/v2/repository/models/unloadable/load')).status, 400);
      for (const bad of [
        { config: 5 },
        { 'file:1/model.onnx': 'aGk=' },
        { config: '{}', 'file:../model.onnx': 'aGk=' },
        { config: '{}', 'file:/etc/passwd': 'aGk=' },
        { config: '{}', 'file:1/model.onnx': 'not base64!' },
        { other: 'x' },
      ]) {
        const got = await call('POST', '/v2/repository/models/fresh/load', JSON.stringify({ parameters: bad }));
        assert.equal(got.status, 400, JSON.stringify(bad));
      }
    });

    it('reads and changes log and trace settings', async () => {
      await call('GET', '/v2/logging');
      await call('POST', '/v2/logging', '{"log_verbose_level":1}');
      await call('GET', '/v2/trace/setting');
      await call('POST', '/v2/models/echo/trace/setting', '{"trace_rate":"5"}');
      assert.deepEqual(services.calls, [
        ['log', undefined],
        ['log', { log_verbose_level: 1 }],
        ['trace', '', undefined],
        ['trace', 'echo', { trace_rate: '5' }],
      ]);
      assert.equal((await call('POST', '/v2/logging', '[1]')).status, 400);
    });

    it('says what an answer has cost, whatever the protocol', async () => {
      const asks: [path: string, body: string][] = [
        ['/v2/models/echo/infer', '{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}]}'],
        ['/v2/models/echo/generate', '{"x":[1,2,3,4]}'],
        ['/v1/models/echo:predict', '{"instances":[[1,2,3,4]]}'],
      ];
      for (const [path, body] of asks) {
        const { status, headers, bytes } = await call('POST', path, body);
        assert.equal(status, 200, bytes.toString());
        assert.match(headers.get('server-timing') ?? '', /^queue;dur=0\.250, .*compute_infer;dur=1\.500, .*"4"$/, path);
      }
    });

    it('loads a model that is not in memory for whoever asks what it takes', async () => {
      const asleep = { name: 'sleeping', versions: [], index: [], onDemand: true };
      const questions = [
        '/v2/models/sleeping',
        '/v2/models/sleeping/config',
        '/v1/models/sleeping/metadata',
        '/v1/models/sleeping/labels/stable/metadata',
        '/v1/models/sleeping/labels/stable',
      ];
      for (const path of questions) {
        services.table().models.set('sleeping', asleep);
        services.calls.length = 0;
        const { status, bytes } = await call('GET', path);
        assert.equal(status, 200, `${path}: ${bytes}`);
        assert.deepEqual(services.calls[0], ['demand', 'sleeping'], path);
      }
      services.table().models.set('sleeping', asleep);
      services.calls.length = 0;
      const predict = await call('POST', '/v1/models/sleeping/labels/stable:predict', '{"instances":[[1,2,3,4]]}');
      assert.equal(predict.status, 200, predict.bytes.toString());
      services.table().models.set('sleeping', asleep);
      services.calls.length = 0;
      assert.equal((await call('GET', '/v1/models/sleeping')).status, 200);
      assert.equal((await call('GET', '/v2/models/sleeping/ready')).status, 200);
      assert.deepEqual(services.calls, [], 'a state is told without loading');
    });

    it('has no shared memory, and says so', async () => {
      for (const kind of ['systemsharedmemory', 'cudasharedmemory']) {
        assert.deepEqual((await call('GET', `/v2/${kind}/status`)).json, []);
        assert.equal((await call('POST', `/v2/${kind}/unregister`)).status, 200);
        const register = await call('POST', `/v2/${kind}/region/in%20put/register`, '{"key":"/k"}');
        assert.equal(register.status, 501);
        assert.match(register.json.error, /in put/);
      }
    });

    it('generates', async () => {
      const got = await call('POST', '/v2/models/echo/generate', '{"x":[1,2,3,4],"id":"g"}');
      assert.equal(got.status, 200, got.bytes.toString());
      assert.deepEqual(got.json.x, [1, 2, 3, 4]);
      const asleep = await call('POST', '/v2/models/sleeping/generate', '{"x":[1,2,3,4]}');
      assert.equal(asleep.status, 200, asleep.bytes.toString());
      assert.deepEqual(services.calls[0].slice(0, 2), ['demand', 'sleeping']);
      services.table().models.set('sleeping', { name: 'sleeping', versions: [], index: [], onDemand: true });
    });

    it('streams every response of a model, then its error', async () => {
      services.dataPlane.behaviour = (request, observer) => {
        echo(request, observer, false);
        setTimeout(() => echo(request, observer, false), 5);
        setTimeout(() => echo({ ...request, inputs: [] }, observer, true), 10);
      };
      const got = await call('POST', '/v2/models/echo/generate_stream', '{"x":[1,2,3,4]}');
      assert.equal(got.headers.get('content-type'), 'text/event-stream');
      const events = got.bytes.toString().split('\n\n').slice(0, -1);
      assert.equal(events.length, 2);
      assert.deepEqual(JSON.parse(events[1].slice('data: '.length)).x, [1, 2, 3, 4]);

      services.dataPlane.behaviour = (request, observer) => {
        echo(request, observer, false);
        setTimeout(() => observer.onError(new SwitchyardError('internal', 'broke')), 5);
      };
      const broken = await call('POST', '/v2/models/echo/generate_stream', '{"x":[1,2,3,4]}');
      assert.match(broken.bytes.toString(), /\n\ndata: \{"error":"broke"\}\n\n$/);

      services.dataPlane.behaviour = () => fail(new SwitchyardError('overloaded', 'full'));
      assert.equal((await call('POST', '/v2/models/echo/generate_stream', '{"x":[1,2,3,4]}')).status, 429);
    });

    it('refuses several responses where one is expected', async () => {
      services.dataPlane.behaviour = (request, observer) => {
        echo(request, observer, false);
        echo(request, observer, true);
      };
      assert.equal((await call('POST', ECHO, inferBody())).status, 501);
      assert.equal((await call('POST', '/v2/models/echo/generate', '{"x":[1,2,3,4]}')).status, 501);
    });

    it('cuts a stream that nobody reads', async () => {
      const before = services.dataPlane.cancelled;
      let over = false;
      services.dataPlane.behaviour = (request, observer) => {
        const inputs = [{ name: 'x', datatype: 'FP32' as const, shape: [1, 60_000], data: new Uint8Array(240_000) }];
        const more = (): void => {
          if (over || services.dataPlane.cancelled > before) return;
          echo({ ...request, inputs }, observer, false);
          setImmediate(more);
        };
        more();
      };
      const body = '{"x":[1,2,3,4]}';
      const socket = (await import('node:net')).connect(server.port, '127.0.0.1');
      socket.on('error', () => {});
      socket.write(
        `POST /v2/models/echo/generate_stream HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
      );
      try {
        await settle(() => services.dataPlane.cancelled > before);
      } finally {
        over = true;
        socket.destroy();
      }
      await settle(() => server.inFlight() === 0);
    });

    it('speaks TF Serving', async () => {
      const predict = '/v1/models/echo:predict';
      const rows = await call('POST', predict, '{"instances":[[1,2,3,4],[5,6,7,8]]}');
      assert.deepEqual(rows.json, {
        predictions: [
          [1, 2, 3, 4],
          [5, 6, 7, 8],
        ],
      });
      const labelled = await call('POST', '/v1/models/echo/labels/stable:predict', '{"inputs":{"x":[[1,2,3,4]]}}');
      assert.deepEqual(labelled.json, { outputs: [[1, 2, 3, 4]] });
      assert.equal(services.dataPlane.requests[1].version, '1');
      assert.equal(services.dataPlane.contexts[1].protocol, 'tfs-http');
      const classify = await call('POST', '/v1/models/scores:classify', '{"examples":[{"x":[0.5,0.25,0,1]}]}');
      assert.equal(classify.status, 200, classify.bytes.toString());
      assert.equal(classify.json.results[0].length, 4);
      const status = (await call('GET', '/v1/models/echo/versions/1')).json;
      assert.equal(status.model_version_status[0].state, 'AVAILABLE');
      assert.equal((await call('GET', '/v1/models/broken')).json.model_version_status[0].state, 'END');
      assert.equal((await call('GET', '/v1/models/echo/metadata')).json.model_spec.version, '1');
      assert.equal((await call('GET', '/v1/models/missing')).status, 404);
      assert.equal((await call('POST', '/v1/models/echo/labels/none:predict', '{"instances":[1]}')).status, 404);
      assert.equal((await call('GET', predict)).status, 405);
      assert.equal((await call('POST', '/v1/models/echo:explain', '{}')).status, 404);
    });
  });
}

function fail(error: Error): never {
  throw error;
}
