import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { loadSync } from '@grpc/proto-loader';
import {
  INFERENCE_SERVICE,
  MODEL_SERVICE,
  PREDICTION_SERVICE,
  packageDefinition,
  serviceDefinition,
} from '../../protocol/grpc/schema.ts';
import { echoServer } from '../../testing/echo-server.ts';
import { status, TestClient } from '../../testing/grpc-client.ts';

describe('services over gRPC', () => {
  const echo = echoServer();
  const { services } = echo;

  describe('control methods', () => {
    it('answer readiness without failing on unknown models', async () => {
      assert.deepEqual(await echo.client.unary('ModelReady', { name: 'nope' }), { ready: false });
      assert.deepEqual(await echo.client.unary('ModelReady', { name: 'echo', version: '1' }), { ready: true });
      assert.deepEqual(await echo.client.unary('ModelReady', { name: 'echo', version: '2' }), { ready: false });
      assert.deepEqual(await echo.client.unary('ServerLive', {}), { live: true });
    });

    it('describe a model', async () => {
      const metadata = await echo.client.unary('ModelMetadata', { name: 'echo' });
      assert.deepEqual(metadata.inputs, [{ name: 'x', datatype: 'FP32', shape: ['-1', '-1'] }]);
      assert.deepEqual(metadata.versions, ['1']);
      assert.equal((await status(echo.client.unary('ModelMetadata', { name: 'nope' }))).code, 5);
      const { config } = await echo.client.unary<{ config: Record<string, unknown> }>('ModelConfig', { name: 'echo' });
      assert.equal(config.max_batch_size, 8);
      assert.deepEqual(config.parameters, { flavour: { string_value: 'plain' } });
      const { model_stats } = await echo.client.unary<{ model_stats: Record<string, unknown>[] }>('ModelStatistics', {
        name: 'echo',
      });
      assert.equal(model_stats[0].last_inference, '1700000000000');
      assert.deepEqual((model_stats[0].inference_stats as Record<string, unknown>).success, { count: '1', ns: '1000' });
    });

    it('load a model that is not in memory for whoever asks what it takes', async () => {
      const models = services.table().models;
      const asleep = { name: 'asleep', versions: [], index: [], onDemand: true };
      const prediction = new TestClient(echo.server.port, serviceDefinition(PREDICTION_SERVICE));
      const status = new TestClient(echo.server.port, serviceDefinition(MODEL_SERVICE));
      const spec = { name: 'asleep', version_label: 'stable' };
      const example = { features: { feature: { x: { float_list: { value: [1, 2] } } } } };
      const input = { example_list: { examples: [example] } };
      const questions: (() => Promise<unknown>)[] = [
        () => echo.client.unary('ModelMetadata', { name: 'asleep' }),
        () => echo.client.unary('ModelConfig', { name: 'asleep' }),
        () => prediction.unary('GetModelMetadata', { model_spec: spec, metadata_field: ['signature_def'] }),
        () => prediction.unary('Classify', { model_spec: { name: 'asleep' }, input }),
        () => prediction.unary('Regress', { model_spec: spec, input }),
        () => prediction.unary('Predict', { model_spec: spec, inputs: {} }),
        () => status.unary('GetModelStatus', { model_spec: spec }),
      ];
      for (const [at, ask] of questions.entries()) {
        models.set('asleep', asleep);
        services.calls.length = 0;
        await ask().catch((error: { code: number; details: string }) => {
          // The double knows no other model to answer for; by then the request was read.
          assert.match(error.details, /'asleep' is not found/, `question ${at}`);
        });
        assert.deepEqual(services.calls, ['demand asleep'], `question ${at}`);
      }
      models.delete('asleep');
      services.calls.length = 0;
      prediction.close();
      status.close();
    });

    it('reach the control thread', async () => {
      const files = { config: { string_param: '{}' }, 'file:1/model.onnx': { bytes_param: Buffer.from('abc') } };
      await echo.client.unary('RepositoryModelLoad', { model_name: 'm', parameters: files });
      await echo.client.unary('RepositoryModelUnload', {
        model_name: 'm',
        parameters: { unload_dependents: { bool_param: true } },
      });
      await echo.client.unary('TraceSetting', {
        model_name: 'm',
        settings: { trace_rate: { value: ['5'] }, trace_level: { value: [] } },
      });
      await echo.client.unary('LogSettings', { settings: { log_verbose_level: { uint32_param: 1 } } });
      assert.deepEqual(services.calls, [
        'load m {} 1/model.onnx',
        'unload m true',
        'trace m {"trace_rate":"5","trace_level":null}',
        'log {"log_verbose_level":1}',
      ]);
      const wrong = await status(
        echo.client.unary('RepositoryModelLoad', { model_name: 'm', parameters: { x: { bool_param: true } } }),
      );
      assert.equal(wrong.code, 3);
    });

    it('have no shared memory to offer', async () => {
      assert.deepEqual(await echo.client.unary('SystemSharedMemoryStatus', {}), { regions: {} });
      assert.deepEqual(await echo.client.unary('CudaSharedMemoryStatus', {}), { regions: {} });
      const failure = await status(echo.client.unary('SystemSharedMemoryRegister', { name: 'a' }));
      assert.equal(failure.code, 12);
      assert.match(failure.details, /raw contents/);
    });

    it('say that a method does not exist', async () => {
      const odd = {
        Odd: { ...serviceDefinition(INFERENCE_SERVICE).ServerLive, path: '/inference.GRPCInferenceService/Odd' },
      };
      const stranger = new TestClient(echo.server.port, odd);
      assert.equal((await status(stranger.unary('Odd', {}))).code, 12);
      stranger.close();
    });
  });

  describe('TensorFlow Serving', () => {
    let prediction: TestClient;
    let models: TestClient;

    before(() => {
      prediction = new TestClient(echo.server.port, serviceDefinition(PREDICTION_SERVICE));
      models = new TestClient(echo.server.port, serviceDefinition(MODEL_SERVICE));
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
      health = new TestClient(echo.server.port, service);
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
      const reflection = new TestClient(echo.server.port, definition as never);
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
