import assert from 'node:assert/strict';
import { once } from 'node:events';
import { beforeEach, describe, it } from 'node:test';
import { compressionAlgorithms, Metadata, type ServiceError } from '@grpc/grpc-js';
import type { Identity } from '../../admission/admission.ts';
import { INFERENCE_SERVICE, serviceDefinition } from '../../protocol/grpc/schema.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { echoServer } from '../../testing/echo-server.ts';
import {
  floats,
  type InferResponse,
  inferRequest,
  MAX_MESSAGE,
  type StreamResponse,
  status,
  TestClient,
  until,
} from '../../testing/grpc-client.ts';

describe('inference over gRPC', () => {
  const echo = echoServer();
  const { services } = echo;

  describe('ModelInfer', () => {
    it('carries a request to the data plane and its answer back', async () => {
      const metadata = new Metadata();
      metadata.set('traceparent', '00-11111111111111111111111111111111-2222222222222222-01');
      metadata.set('tracestate', 'rojo=00f067aa0ba902b7');
      metadata.add('tracestate', 'congo=t61rcWkgMzE');
      const request = inferRequest('echo', [1, 2, 3], {
        parameters: { priority: { uint64_param: 2 }, a: { double_param: 1.5 } },
      });
      const response = await echo.client.unary<InferResponse>('ModelInfer', request, { metadata });
      assert.equal(response.id, 'r1');
      assert.deepEqual(response.raw_output_contents, [floats([1, 2, 3])]);
      assert.deepEqual(response.outputs[0].shape, ['1', '3']);
      assert.equal(response.parameters.a.double_param, 1.5);
      const [context] = services.dataPlane.contexts;
      assert.equal(context.protocol, 'grpc');
      assert.equal(context.priority, 2);
      assert.equal(context.deadline, Number.POSITIVE_INFINITY);
      assert.match(context.traceparent, /^00-1+-2+-01$/);
      assert.equal(context.tracestate.replace(', ', ','), 'rojo=00f067aa0ba902b7,congo=t61rcWkgMzE');
    });

    it('answers classes when asked to', async () => {
      const outputs = [{ name: 'x', parameters: { classification: { int64_param: 2 } } }];
      const response = await echo.client.unary<InferResponse>(
        'ModelInfer',
        inferRequest('echo', [1, 3, 2], { outputs }),
      );
      assert.equal(response.outputs[0].datatype, 'BYTES');
      assert.match(response.raw_output_contents[0].toString('latin1'), /3\.000000:1:one.*2\.000000:2:two/s);
    });

    it('moves messages of many megabytes', async () => {
      const values = new Array<number>(5 << 20).fill(0.5);
      const response = await echo.client.unary<InferResponse>('ModelInfer', inferRequest('echo', values));
      assert.equal(response.raw_output_contents[0].length, 20 << 20);
      assert.ok(response.raw_output_contents[0].equals(floats(values)));
    });

    it('refuses a message over the limit, and serves the next', async () => {
      const values = new Array<number>((MAX_MESSAGE >> 2) + 1).fill(0);
      const { code, details } = await status(echo.client.unary('ModelInfer', inferRequest('echo', values)));
      assert.equal(code, 8);
      assert.match(details, new RegExp(`limit of ${MAX_MESSAGE} bytes`));
      await echo.client.unary('ModelInfer', inferRequest('echo'));
    });

    for (const [name, algorithm] of [
      ['gzip', compressionAlgorithms.gzip],
      ['deflate', compressionAlgorithms.deflate],
    ] as const) {
      it(`reads and answers ${name}`, async () => {
        const packed = new TestClient(echo.server.port, serviceDefinition(INFERENCE_SERVICE), {
          'grpc.default_compression_algorithm': algorithm,
        });
        const values = new Array<number>(50_000).fill(2);
        const response = await packed.unary<InferResponse>('ModelInfer', inferRequest('echo', values));
        assert.ok(response.raw_output_contents[0].equals(floats(values)));
        packed.close();
      });
    }

    const failures: [string, object, number, RegExp][] = [
      ['an unknown model', inferRequest('nope'), 5, /'nope' is not found/],
      ['a decoupled model', inferRequest('stream'), 12, /ModelStreamInfer/],
      [
        'a bad shape',
        inferRequest('echo', [1], { inputs: [{ name: 'x', datatype: 'FP32', shape: [2, -5] }] }),
        3,
        /-5/,
      ],
      [
        'a reserved parameter',
        inferRequest('echo', [1], { parameters: { triton_y: { bool_param: true } } }),
        3,
        /triton_y/,
      ],
    ];
    for (const [name, request, code, pattern] of failures) {
      it(`answers ${name} with its status`, async () => {
        const failure = await status(echo.client.unary('ModelInfer', request));
        assert.equal(failure.code, code);
        assert.match(failure.details, pattern);
      });
    }

    it('names the record of a request that it refuses before it is read, where there is one', async () => {
      const unreadable = inferRequest('echo', [1], { parameters: { timeout: { string_param: 'soon' } } });
      const plain = await status(echo.client.unary('ModelInfer', unreadable));
      assert.deepEqual([plain.code, plain.metadata.get('x-switchyard-id')], [3, []]);
      services.dataPlane.refusal = { id: 'r-1', variant: '', version: '' };
      const named = await status(echo.client.unary('ModelInfer', unreadable));
      assert.deepEqual([named.code, named.metadata.get('x-switchyard-id')], [3, ['r-1']]);
      services.dataPlane.refusal = undefined;
    });

    it('tells an overloaded client when to come back', async () => {
      const failure = await status(echo.client.unary('ModelInfer', inferRequest('shed')));
      assert.equal(failure.code, 8);
      assert.deepEqual(failure.metadata.get('grpc-retry-pushback-ms'), ['1500']);
    });

    it('ends a call at its deadline and frees the request', async () => {
      const deadline = new Date(Date.now() + 1500);
      const failure = await status(echo.client.unary('ModelInfer', inferRequest('hold'), { deadline }));
      assert.equal(failure.code, 4);
      await until(() => services.dataPlane.cancelled === 1);
      const [context] = services.dataPlane.contexts;
      assert.ok(context.deadline - context.receivedAt <= 1500);
    });

    it('takes the timeout parameter for a deadline', async () => {
      const parameters = { timeout: { int64_param: 2_000_000 } };
      await echo.client.unary('ModelInfer', inferRequest('echo', [1], { parameters }));
      const [context] = services.dataPlane.contexts;
      assert.equal(Math.round(context.deadline - context.receivedAt), 2000);
    });

    it('frees the request of a client that goes away', async () => {
      const definition = serviceDefinition(INFERENCE_SERVICE).ModelInfer;
      const call = echo.client.client.makeUnaryRequest(
        definition.path,
        definition.requestSerialize as (value: object) => Buffer,
        definition.responseDeserialize,
        inferRequest('hold'),
        () => undefined,
      );
      await until(() => services.dataPlane.requests.length === 1);
      call.cancel();
      await until(() => services.dataPlane.cancelled === 1);
    });
  });

  describe('ModelStreamInfer', () => {
    it('keeps the stream open past errors, names the request, and streams decoupled answers', async () => {
      const stream = echo.client.bidi<StreamResponse>('ModelStreamInfer');
      const got: StreamResponse[] = [];
      stream.on('data', (message: StreamResponse) => got.push(message));
      stream.write(inferRequest('nope', [1], { id: 'bad' }));
      stream.write(inferRequest('echo', [1], { id: 'wrong', inputs: [] }));
      stream.write(inferRequest('stream', [1], { id: 'many' }));
      const asked = { triton_enable_empty_final_response: { bool_param: true } };
      stream.write(inferRequest('stream', [1], { id: 'empty', parameters: asked }));
      stream.write(inferRequest('echo', [1], { id: 'last' }));
      stream.end();
      const [ended] = (await once(stream, 'status')) as [{ code: number }];
      assert.equal(ended.code, 0);
      const of = (id: string) => got.filter((message) => message.infer_response.id === id);
      assert.match(of('bad')[0].error_message, /not found/);
      assert.match(of('wrong')[0].error_message, /raw_input_contents/);
      const finals = (id: string) =>
        of(id).map(({ infer_response }) => infer_response.parameters.triton_final_response.bool_param);
      assert.deepEqual(finals('many'), [false, false]);
      assert.deepEqual(finals('empty'), [false, false, true]);
      assert.deepEqual(finals('last'), [true]);
    });

    it('streams bare responses where that is the form, and ends the call with the first failure', async () => {
      services.server.streamForm = 'bare';
      try {
        const stream = echo.client.bidi<InferResponse>('ModelStreamInfer', 'ModelInfer');
        const got: InferResponse[] = [];
        stream.on('data', (message: InferResponse) => got.push(message));
        stream.on('error', () => undefined);
        const end = new Promise<{ code: number; details: string }>((resolve) => stream.on('status', resolve));
        const asked = { triton_enable_empty_final_response: { bool_param: true } };
        stream.write(inferRequest('stream', [1], { id: 'many' }));
        stream.write(inferRequest('stream', [1], { id: 'marked', parameters: asked }));
        await until(() => got.length === 5);
        stream.write(inferRequest('hold'));
        stream.write(inferRequest('nope', [1], { id: 'bad' }));
        const { code, details } = await end;
        assert.equal(code, 5);
        assert.match(details, /not found/);
        const finals = (id: string) =>
          got.filter((each) => each.id === id).map(({ parameters }) => parameters.triton_final_response?.bool_param);
        assert.deepEqual(finals('many'), [undefined, undefined]);
        assert.deepEqual(finals('marked'), [false, false, true]);
        assert.deepEqual(got[0].raw_output_contents, [floats([1])]);
        await until(() => services.dataPlane.cancelled === 1);
      } finally {
        services.server.streamForm = 'triton';
      }
    });

    it('answers thousands of requests on one stream', async () => {
      const stream = echo.client.bidi<StreamResponse>('ModelStreamInfer');
      const ids: string[] = [];
      stream.on('data', (message: StreamResponse) => ids.push(message.infer_response.id));
      const wanted = Array.from({ length: 3000 }, (_, i) => String(i));
      for (const id of wanted) stream.write(inferRequest('echo', [1], { id }));
      stream.end();
      await once(stream, 'status');
      assert.deepEqual(ids, wanted);
    });

    it('frees every request of a cancelled stream', async () => {
      const stream = echo.client.bidi('ModelStreamInfer');
      stream.on('error', () => undefined);
      for (let i = 0; i < 5; i++) stream.write(inferRequest('hold'));
      await until(() => services.dataPlane.requests.length === 5);
      stream.cancel();
      await until(() => services.dataPlane.cancelled === 5);
    });
  });

  describe('admission', () => {
    const identity: Identity = { tenant: 'acme', roles: ['infer'], maxPriority: 2 };
    let held: string[];

    beforeEach(() => {
      held = [];
      services.admission = {
        enabled: true,
        authenticate: ({ authorization, apiKey }) => {
          if (authorization === 'Bearer good') return identity;
          if (apiKey === 'slow') return Promise.resolve(identity);
          throw new SwitchyardError('unauthenticated', 'no valid credentials');
        },
        admit: (_identity, model) => {
          if (model === 'shed') throw new SwitchyardError('overloaded', 'quota');
          held.push(model);
        },
        release: (_identity, model) => {
          assert.equal(held.shift(), model);
        },
        close: () => Promise.resolve(),
      };
    });

    const allowed = (name: string, value: string): Metadata => {
      const metadata = new Metadata();
      metadata.set(name, value);
      return metadata;
    };

    for (const [name, value] of [
      ['authorization', 'Bearer good'],
      ['x-api-key', 'slow'],
    ]) {
      it(`admits by ${name}, gives back, and passes on what the priority is bounded by`, async () => {
        const metadata = allowed(name, value);
        const request = inferRequest('echo', [1], { parameters: { priority: { uint64_param: 1 } } });
        await echo.client.unary('ModelInfer', request, { metadata });
        assert.equal(services.dataPlane.contexts[0].tenant, 'acme');
        const [{ priority, maxPriority }] = services.dataPlane.contexts;
        assert.deepEqual({ priority, maxPriority }, { priority: 1, maxPriority: 2 });
        assert.deepEqual(held, []);
      });
    }

    it('gives back after errors and cancellation too', async () => {
      const metadata = allowed('authorization', 'Bearer good');
      await status(echo.client.unary('ModelInfer', inferRequest('nope'), { metadata }));
      await status(echo.client.unary('ModelInfer', inferRequest('echo', [1], { inputs: [] }), { metadata }));
      await status(echo.client.unary('ModelInfer', inferRequest('stream'), { metadata }));
      assert.deepEqual(held, []);
      const deadline = new Date(Date.now() + 1500);
      await status(echo.client.unary('ModelInfer', inferRequest('hold'), { metadata, deadline }));
      await until(() => services.dataPlane.cancelled > 0 && held.length === 0);
    });

    it('refuses strangers, those over quota, and control without its role', async () => {
      assert.equal((await status(echo.client.unary('ModelInfer', inferRequest('echo')))).code, 16);
      assert.equal((await status(echo.client.unary('ServerMetadata', {}))).code, 16);
      const metadata = allowed('authorization', 'Bearer good');
      assert.equal((await status(echo.client.unary('ModelInfer', inferRequest('shed'), { metadata }))).code, 8);
      for (const [method, request] of [
        ['RepositoryModelLoad', { model_name: 'm' }],
        ['RepositoryModelUnload', { model_name: 'm' }],
        ['TraceSetting', { settings: { trace_rate: { value: ['1'] } } }],
        ['LogSettings', { settings: { log_info: { bool_param: true } } }],
      ] as const) {
        assert.equal((await status(echo.client.unary(method, request, { metadata }))).code, 7, method);
      }
      assert.deepEqual(services.calls, []);
      await echo.client.unary('RepositoryIndex', {}, { metadata });
      await echo.client.unary('TraceSetting', {}, { metadata });
      await echo.client.unary('ServerLive', {});
    });

    it('ends the stream of a stranger', async () => {
      const stream = echo.client.bidi('ModelStreamInfer');
      stream.on('data', () => undefined);
      stream.write(inferRequest('echo'));
      const [error] = (await once(stream, 'error')) as [ServiceError];
      assert.equal(error.code, 16);
    });
  });
});
