import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, beforeEach, describe, it } from 'node:test';
import { compressionAlgorithms, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { Identity } from '../../admission/admission.ts';
import {
  INFERENCE_SERVICE,
  MODEL_SERVICE,
  PREDICTION_SERVICE,
  packageDefinition,
  serviceDefinition,
} from '../../protocol/grpc/schema.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { type EchoServices, echoServices, openAdmission } from '../../testing/echo-services.ts';
import { TestClient } from '../../testing/grpc-client.ts';
import { type RunningGrpcServer, startGrpcServer } from './start-grpc-server.ts';

const MAX_MESSAGE = 32 << 20;

interface InferResponse {
  model_name: string;
  id: string;
  parameters: Record<string, Record<string, unknown>>;
  outputs: { name: string; datatype: string; shape: string[] }[];
  raw_output_contents: Buffer[];
}

interface StreamResponse {
  error_message: string;
  infer_response: InferResponse;
}

function floats(values: number[]): Buffer {
  return Buffer.from(Float32Array.from(values).buffer);
}

function inferRequest(model: string, values: number[] = [1, 2, 3], rest: object = {}): object {
  return {
    model_name: model,
    id: 'r1',
    inputs: [{ name: 'x', datatype: 'FP32', shape: [1, values.length] }],
    raw_input_contents: [floats(values)],
    ...rest,
  };
}

async function status(call: Promise<unknown>): Promise<{ code: number; details: string; metadata: Metadata }> {
  try {
    await call;
  } catch (error) {
    return error as ServiceError;
  }
  return assert.fail('the call succeeded');
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

describe('gRPC server', () => {
  let services: EchoServices;
  let server: RunningGrpcServer;
  let client: TestClient;

  before(async () => {
    services = echoServices();
    server = await startGrpcServer(services, { host: '127.0.0.1', port: 0, maxMessageBytes: MAX_MESSAGE });
    client = new TestClient(server.port, serviceDefinition(INFERENCE_SERVICE), {
      'grpc.max_receive_message_length': -1,
      'grpc.max_send_message_length': -1,
    });
  });
  after(async () => {
    client.close();
    await server.close();
  });
  beforeEach(() => {
    services.admission = openAdmission();
    services.dataPlane.contexts.length = 0;
    services.dataPlane.requests.length = 0;
    services.dataPlane.cancelled = 0;
    services.calls.length = 0;
  });

  describe('ModelInfer', () => {
    it('carries a request to the data plane and its answer back', async () => {
      const metadata = new Metadata();
      metadata.set('traceparent', '00-11111111111111111111111111111111-2222222222222222-01');
      const request = inferRequest('echo', [1, 2, 3], {
        parameters: { priority: { uint64_param: 2 }, a: { double_param: 1.5 } },
      });
      const response = await client.unary<InferResponse>('ModelInfer', request, { metadata });
      assert.equal(response.id, 'r1');
      assert.deepEqual(response.raw_output_contents, [floats([1, 2, 3])]);
      assert.deepEqual(response.outputs[0].shape, ['1', '3']);
      assert.equal(response.parameters.a.double_param, 1.5);
      const [context] = services.dataPlane.contexts;
      assert.equal(context.protocol, 'grpc');
      assert.equal(context.priority, 2);
      assert.equal(context.deadline, Number.POSITIVE_INFINITY);
      assert.match(context.traceparent, /^00-1+-2+-01$/);
    });

    it('answers classes when asked to', async () => {
      const outputs = [{ name: 'x', parameters: { classification: { int64_param: 2 } } }];
      const response = await client.unary<InferResponse>('ModelInfer', inferRequest('echo', [1, 3, 2], { outputs }));
      assert.equal(response.outputs[0].datatype, 'BYTES');
      assert.match(response.raw_output_contents[0].toString('latin1'), /3\.000000:1:one.*2\.000000:2:two/s);
    });

    it('moves messages of many megabytes', async () => {
      const values = new Array<number>(5 << 20).fill(0.5);
      const response = await client.unary<InferResponse>('ModelInfer', inferRequest('echo', values));
      assert.equal(response.raw_output_contents[0].length, 20 << 20);
      assert.ok(response.raw_output_contents[0].equals(floats(values)));
    });

    it('refuses a message over the limit, and serves the next', async () => {
      const values = new Array<number>((MAX_MESSAGE >> 2) + 1).fill(0);
      const { code, details } = await status(client.unary('ModelInfer', inferRequest('echo', values)));
      assert.equal(code, 8);
      assert.match(details, new RegExp(`limit of ${MAX_MESSAGE} bytes`));
      await client.unary('ModelInfer', inferRequest('echo'));
    });

    for (const [name, algorithm] of [
      ['gzip', compressionAlgorithms.gzip],
      ['deflate', compressionAlgorithms.deflate],
    ] as const) {
      it(`reads and answers ${name}`, async () => {
        const packed = new TestClient(server.port, serviceDefinition(INFERENCE_SERVICE), {
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
        const failure = await status(client.unary('ModelInfer', request));
        assert.equal(failure.code, code);
        assert.match(failure.details, pattern);
      });
    }

    it('tells an overloaded client when to come back', async () => {
      const failure = await status(client.unary('ModelInfer', inferRequest('shed')));
      assert.equal(failure.code, 8);
      assert.deepEqual(failure.metadata.get('grpc-retry-pushback-ms'), ['1500']);
    });

    it('ends a call at its deadline and frees the request', async () => {
      const deadline = new Date(Date.now() + 150);
      const failure = await status(client.unary('ModelInfer', inferRequest('hold'), { deadline }));
      assert.equal(failure.code, 4);
      await until(() => services.dataPlane.cancelled === 1);
      const [context] = services.dataPlane.contexts;
      assert.ok(context.deadline - context.receivedAt <= 150);
    });

    it('takes the timeout parameter for a deadline', async () => {
      const parameters = { timeout: { int64_param: 2_000_000 } };
      await client.unary('ModelInfer', inferRequest('echo', [1], { parameters }));
      const [context] = services.dataPlane.contexts;
      assert.equal(Math.round(context.deadline - context.receivedAt), 2000);
    });

    it('frees the request of a client that goes away', async () => {
      const definition = serviceDefinition(INFERENCE_SERVICE).ModelInfer;
      const call = client.client.makeUnaryRequest(
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
      const stream = client.bidi<StreamResponse>('ModelStreamInfer');
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

    it('answers thousands of requests on one stream', async () => {
      const stream = client.bidi<StreamResponse>('ModelStreamInfer');
      const ids: string[] = [];
      stream.on('data', (message: StreamResponse) => ids.push(message.infer_response.id));
      const wanted = Array.from({ length: 3000 }, (_, i) => String(i));
      for (const id of wanted) stream.write(inferRequest('echo', [1], { id }));
      stream.end();
      await once(stream, 'status');
      assert.deepEqual(ids, wanted);
    });

    it('frees every request of a cancelled stream', async () => {
      const stream = client.bidi('ModelStreamInfer');
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
      it(`admits by ${name}, gives back, and bounds the priority`, async () => {
        const metadata = allowed(name, value);
        const request = inferRequest('echo', [1], { parameters: { priority: { uint64_param: 1 } } });
        await client.unary('ModelInfer', request, { metadata });
        assert.equal(services.dataPlane.contexts[0].tenant, 'acme');
        assert.equal(services.dataPlane.contexts[0].priority, 2);
        assert.deepEqual(held, []);
      });
    }

    it('gives back after errors and cancellation too', async () => {
      const metadata = allowed('authorization', 'Bearer good');
      await status(client.unary('ModelInfer', inferRequest('nope'), { metadata }));
      await status(client.unary('ModelInfer', inferRequest('echo', [1], { inputs: [] }), { metadata }));
      await status(client.unary('ModelInfer', inferRequest('stream'), { metadata }));
      assert.deepEqual(held, []);
      const deadline = new Date(Date.now() + 100);
      await status(client.unary('ModelInfer', inferRequest('hold'), { metadata, deadline }));
      await until(() => services.dataPlane.cancelled > 0 && held.length === 0);
    });

    it('refuses strangers, those over quota, and control without its role', async () => {
      assert.equal((await status(client.unary('ModelInfer', inferRequest('echo')))).code, 16);
      assert.equal((await status(client.unary('ServerMetadata', {}))).code, 16);
      const metadata = allowed('authorization', 'Bearer good');
      assert.equal((await status(client.unary('ModelInfer', inferRequest('shed'), { metadata }))).code, 8);
      for (const [method, request] of [
        ['RepositoryModelLoad', { model_name: 'm' }],
        ['RepositoryModelUnload', { model_name: 'm' }],
        ['TraceSetting', { settings: { trace_rate: { value: ['1'] } } }],
        ['LogSettings', { settings: { log_info: { bool_param: true } } }],
      ] as const) {
        assert.equal((await status(client.unary(method, request, { metadata }))).code, 7, method);
      }
      assert.deepEqual(services.calls, []);
      await client.unary('RepositoryIndex', {}, { metadata });
      await client.unary('TraceSetting', {}, { metadata });
      await client.unary('ServerLive', {});
    });

    it('ends the stream of a stranger', async () => {
      const stream = client.bidi('ModelStreamInfer');
      stream.on('data', () => undefined);
      stream.write(inferRequest('echo'));
      const [error] = (await once(stream, 'error')) as [ServiceError];
      assert.equal(error.code, 16);
    });
  });

  describe('control methods', () => {
    it('answer readiness without failing on unknown models', async () => {
      assert.deepEqual(await client.unary('ModelReady', { name: 'nope' }), { ready: false });
      assert.deepEqual(await client.unary('ModelReady', { name: 'echo', version: '1' }), { ready: true });
      assert.deepEqual(await client.unary('ModelReady', { name: 'echo', version: '2' }), { ready: false });
      assert.deepEqual(await client.unary('ServerLive', {}), { live: true });
    });

    it('describe a model', async () => {
      const metadata = await client.unary('ModelMetadata', { name: 'echo' });
      assert.deepEqual(metadata.inputs, [{ name: 'x', datatype: 'FP32', shape: ['-1', '-1'] }]);
      assert.deepEqual(metadata.versions, ['1']);
      assert.equal((await status(client.unary('ModelMetadata', { name: 'nope' }))).code, 5);
      const { config } = await client.unary<{ config: Record<string, unknown> }>('ModelConfig', { name: 'echo' });
      assert.equal(config.max_batch_size, 8);
      assert.deepEqual(config.parameters, { flavour: { string_value: 'plain' } });
      const { model_stats } = await client.unary<{ model_stats: Record<string, unknown>[] }>('ModelStatistics', {
        name: 'echo',
      });
      assert.equal(model_stats[0].last_inference, '1700000000000');
      assert.deepEqual((model_stats[0].inference_stats as Record<string, unknown>).success, { count: '1', ns: '1000' });
    });

    it('reach the control thread', async () => {
      const files = { config: { string_param: '{}' }, 'file:1/model.onnx': { bytes_param: Buffer.from('abc') } };
      await client.unary('RepositoryModelLoad', { model_name: 'm', parameters: files });
      await client.unary('RepositoryModelUnload', {
        model_name: 'm',
        parameters: { unload_dependents: { bool_param: true } },
      });
      await client.unary('TraceSetting', {
        model_name: 'm',
        settings: { trace_rate: { value: ['5'] }, trace_level: { value: [] } },
      });
      await client.unary('LogSettings', { settings: { log_verbose_level: { uint32_param: 1 } } });
      assert.deepEqual(services.calls, [
        'load m {} 1/model.onnx',
        'unload m true',
        'trace m {"trace_rate":"5","trace_level":null}',
        'log {"log_verbose_level":1}',
      ]);
      const wrong = await status(
        client.unary('RepositoryModelLoad', { model_name: 'm', parameters: { x: { bool_param: true } } }),
      );
      assert.equal(wrong.code, 3);
    });

    it('have no shared memory to offer', async () => {
      assert.deepEqual(await client.unary('SystemSharedMemoryStatus', {}), { regions: {} });
      assert.deepEqual(await client.unary('CudaSharedMemoryStatus', {}), { regions: {} });
      const failure = await status(client.unary('SystemSharedMemoryRegister', { name: 'a' }));
      assert.equal(failure.code, 12);
      assert.match(failure.details, /raw contents/);
    });

    it('say that a method does not exist', async () => {
      const odd = {
        Odd: { ...serviceDefinition(INFERENCE_SERVICE).ServerLive, path: '/inference.GRPCInferenceService/Odd' },
      };
      const stranger = new TestClient(server.port, odd);
      assert.equal((await status(stranger.unary('Odd', {}))).code, 12);
      stranger.close();
    });
  });

  describe('TensorFlow Serving', () => {
    let prediction: TestClient;
    let models: TestClient;

    before(() => {
      prediction = new TestClient(server.port, serviceDefinition(PREDICTION_SERVICE));
      models = new TestClient(server.port, serviceDefinition(MODEL_SERVICE));
    });
    after(() => {
      prediction.close();
      models.close();
    });

    const spec = { name: 'echo', version: { value: 1 } };

    it('predicts', async () => {
      const inputs = {
        x: { dtype: 'DT_FLOAT', tensor_shape: { dim: [{ size: 1 }, { size: 2 }] }, float_val: [1.5, 2] },
      };
      const answer = await prediction.unary<{ outputs: Record<string, { float_val: number[] }>; model_spec: object }>(
        'Predict',
        {
          model_spec: { name: 'echo', version_label: 'stable' },
          inputs,
        },
      );
      assert.deepEqual(answer.outputs.x.float_val, [1.5, 2]);
      assert.equal(services.dataPlane.requests[0].version, '1');
      assert.equal(services.dataPlane.contexts[0].protocol, 'tfs-grpc');
      const unknown = { model_spec: { name: 'echo', version_label: 'odd' }, inputs };
      assert.equal((await status(prediction.unary('Predict', unknown))).code, 5);
      const signature = { model_spec: { ...spec, signature_name: 'odd' }, inputs };
      assert.equal((await status(prediction.unary('Predict', signature))).code, 3);
    });

    const examples = (...values: number[][]): object => ({
      model_spec: spec,
      input: {
        example_list: {
          examples: values.map((value) => ({ features: { feature: { x: { float_list: { value } } } } })),
        },
      },
    });

    it('classifies and regresses examples', async () => {
      const classified = await prediction.unary('Classify', examples([0.25, 0.75], [1, 0]));
      assert.deepEqual(classified.result, {
        classifications: [
          {
            classes: [
              { label: 'zero', score: 0.25 },
              { label: 'one', score: 0.75 },
            ],
          },
          {
            classes: [
              { label: 'zero', score: 1 },
              { label: 'one', score: 0 },
            ],
          },
        ],
      });
      const regressed = await prediction.unary('Regress', examples([0.5], [4]));
      assert.deepEqual(regressed.result, { regressions: [{ value: 0.5 }, { value: 4 }] });
      assert.equal((await status(prediction.unary('Regress', examples([1, 2])))).code, 9);
      assert.equal((await status(prediction.unary('MultiInference', {}))).code, 12);
    });

    it('describes models and their versions', async () => {
      const { metadata } = await prediction.unary<{ metadata: Record<string, { type_url: string; value: Buffer }> }>(
        'GetModelMetadata',
        { model_spec: spec, metadata_field: ['signature_def'] },
      );
      const map = packageDefinition()['tensorflow.serving.SignatureDefMap'] as unknown as {
        deserialize(bytes: Buffer): unknown;
      };
      const decoded = map.deserialize(metadata.signature_def.value) as {
        signature_def: {
          serving_default: { inputs: { x: { dtype: string; tensor_shape: { dim: { size: string }[] } } } };
        };
      };
      const { x } = decoded.signature_def.serving_default.inputs;
      assert.equal(x.dtype, 'DT_FLOAT');
      assert.deepEqual(
        x.tensor_shape.dim.map((dim) => dim.size),
        ['-1', '-1'],
      );
      const { model_version_status } = await models.unary<{ model_version_status: object[] }>('GetModelStatus', {
        model_spec: spec,
      });
      assert.deepEqual(model_version_status, [
        { version: '1', state: 'AVAILABLE', status: { error_code: 'OK', error_message: '' } },
      ]);
      assert.equal((await status(models.unary('GetModelStatus', { model_spec: { name: 'nope' } }))).code, 5);
      assert.equal((await status(models.unary('HandleReloadConfigRequest', {}))).code, 12);
    });
  });

  describe('health', () => {
    const require = createRequire(import.meta.url);
    const { service } = require('grpc-health-check') as { service: never };
    let health: TestClient;

    before(() => {
      health = new TestClient(server.port, service);
    });
    after(() => health.close());

    it('follows the server and the table', async () => {
      assert.deepEqual(await health.unary('Check', { service: '' }), { status: 'SERVING' });
      assert.deepEqual(await health.unary('Check', { service: 'echo' }), { status: 'SERVING' });
      assert.equal((await status(health.unary('Check', { service: 'nope' }))).code, 5);
      services.isReady = false;
      assert.deepEqual(await health.unary('Check', { service: 'echo' }), { status: 'NOT_SERVING' });
      services.isReady = true;
    });

    it('tells watchers', async () => {
      const watch = health.serverStream<{ status: string }>('Watch', { service: '' });
      watch.on('error', () => undefined);
      const next = async () => ((await once(watch, 'data')) as [{ status: string }])[0].status;
      assert.equal(await next(), 'SERVING');
      services.isReady = false;
      assert.equal(await next(), 'NOT_SERVING');
      services.isReady = true;
      assert.equal(await next(), 'SERVING');
      watch.cancel();
    });
  });

  for (const version of ['v1', 'v1alpha']) {
    it(`reflects its services, ${version}`, async () => {
      const require = createRequire(import.meta.url);
      const root = require.resolve('@grpc/reflection').replace(/build.*/, 'build/');
      const path = `${root}proto/grpc/reflection/${version}/reflection.proto`;
      const definition = loadSync(path, { keepCase: true, oneofs: true })[
        `grpc.reflection.${version}.ServerReflection`
      ];
      const reflection = new TestClient(server.port, definition as never);
      const stream = reflection.bidi<Record<string, never>>('ServerReflectionInfo');
      stream.write({ list_services: '*' });
      const [listed] = (await once(stream, 'data')) as [{ list_services_response: { service: { name: string }[] } }];
      const names = listed.list_services_response.service.map((service) => service.name);
      assert.ok(names.includes(INFERENCE_SERVICE) && names.includes(PREDICTION_SERVICE), names.join());
      stream.write({ file_containing_symbol: 'inference.ModelInferRequest' });
      const [file] = (await once(stream, 'data')) as [
        { file_descriptor_response: { file_descriptor_proto: Buffer[] } },
      ];
      assert.ok(file.file_descriptor_response.file_descriptor_proto.length > 0);
      stream.end();
      await once(stream, 'status');
      reflection.close();
    });
  }
});

describe('drain', () => {
  it('finishes calls under way, refuses new ones, and ends idle streams', async () => {
    const services = echoServices();
    let release: (() => void) | undefined;
    const { infer } = services.dataPlane;
    services.dataPlane.infer = (request, context, observer) => {
      if (request.model !== 'hold') return infer.call(services.dataPlane, request, context, observer);
      release = () => void infer.call(services.dataPlane, { ...request, model: 'echo' }, context, observer);
      return { cancel: () => undefined };
    };
    const server = await startGrpcServer(services, { host: '127.0.0.1', port: 0, maxMessageBytes: MAX_MESSAGE });
    const client = new TestClient(server.port, serviceDefinition(INFERENCE_SERVICE));
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

describe('TLS', () => {
  const pem = (name: string) => readFileSync(new URL(`../../testing/fixtures/tls/${name}`, import.meta.url));

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
    const tls = {
      cert: pem('localhost.pem'),
      key: pem('localhost.key'),
      ca: pem('ca.pem'),
      clientCertificates: 'require' as const,
    };
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
