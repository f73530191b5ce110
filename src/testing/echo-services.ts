import type { Admission } from '../admission/admission.ts';
import type { ModelConfig } from '../config/model-config.ts';
import type {
  DataPlane,
  InferRequest,
  InferResponse,
  ModelWaiter,
  RequestContext,
  ResponseObserver,
  RoutedHeaders,
  Served,
  ServingModel,
  ServingTable,
  Submission,
} from '../pipeline/types.ts';
import type { GatewayServices } from '../server/services.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { modelConfig } from './models.ts';

/** A model with one FP32 input and output 'x' of any length. */
export function echoConfig(name: string): ModelConfig {
  return modelConfig({
    name,
    backend: 'echo',
    signature: {
      inputs: [{ name: 'x', datatype: 'FP32', dims: [-1] }],
      outputs: [{ name: 'x', datatype: 'FP32', dims: [-1], labels: ['zero', 'one', 'two'] }],
      maxBatchSize: 8,
    },
    versionLabels: { stable: '1' },
    raw: {
      name,
      backend: 'echo',
      max_batch_size: 8,
      input: [{ name: 'x', data_type: 'TYPE_FP32', dims: ['-1'] }],
      output: [{ name: 'x', data_type: 'TYPE_FP32', dims: ['-1'] }],
      model_transaction_policy: { decoupled: false },
      parameters: { flavour: { string_value: 'plain' } },
    },
  });
}

function echo(request: InferRequest, outputs = request.inputs): InferResponse {
  return {
    model: request.model,
    version: '1',
    id: request.id,
    outputs,
    parameters: request.parameters,
    timings: undefined,
  };
}

export interface EchoServices extends GatewayServices {
  dataPlane: EchoPlane;
  live: boolean;
  isReady: boolean;
  calls: string[];
}

/**
 * Answers with the request's inputs. By model: 'echo' at once; 'stream' two answers and an empty final one; 'hold' never
 * (until cancelled); 'shed' overloaded. Anything else is not found.
 */
export class EchoPlane implements DataPlane {
  /** What clients are told of refused requests. */
  refusal: Served | undefined;

  refused(): Served | undefined {
    return this.refusal;
  }

  /** Who is said to have answered. */
  serve: ((request: InferRequest, context: RequestContext) => Served | undefined) | undefined;
  routed: RoutedHeaders = { names: [], units: [] };
  contexts: RequestContext[] = [];
  requests: InferRequest[] = [];
  cancelled = 0;
  /** Keeps the requests for tests to look at. */
  recording = true;

  /** Loads what a request waits for. */
  demand: (model: string) => Promise<void> = () => Promise.resolve();

  headersOf(): RoutedHeaders {
    return this.routed;
  }

  awaitModel(model: string, _version: string, _context: RequestContext, waiter: ModelWaiter): Submission {
    this.demand(model).then(
      () => waiter.onReady(),
      (error) => waiter.onError(error),
    );
    return { cancel: () => void this.cancelled++ };
  }

  infer(request: InferRequest, context: RequestContext, observer: ResponseObserver): Submission {
    if (this.recording) {
      this.contexts.push(context);
      this.requests.push(request);
    }
    context.served = this.serve?.(request, context);
    switch (request.model) {
      case 'echo':
        observer.onResponse(echo(request), true);
        break;
      case 'stream':
        setImmediate(() => {
          observer.onResponse(echo(request), false);
          observer.onResponse(echo(request), false);
          observer.onResponse(echo(request, []), true);
        });
        break;
      case 'hold':
        return { cancel: () => void this.cancelled++ };
      case 'shed':
        observer.onError(new SwitchyardError('overloaded', "model 'shed': queue is full", { retryAfterMs: 1500 }));
        break;
      default:
        observer.onError(
          new SwitchyardError('not_found', `Request for unknown model: '${request.model}' is not found`),
        );
    }
    return { cancel: () => void this.cancelled++ };
  }
}

export function openAdmission(): Admission {
  return {
    enabled: false,
    authenticate: () => ({ tenant: 'anonymous', roles: ['infer', 'control'], maxPriority: 0 }),
    admit: () => undefined,
    release: () => undefined,
    close: () => Promise.resolve(),
  };
}

/** Everything a transport asks for, answering from memory. */
export function echoServices(): EchoServices {
  const models = ['echo', 'stream', 'hold', 'shed'];
  const table: ServingTable = { generation: 1, models: new Map() };
  models.forEach((name, row) => {
    const version = {
      handle: row,
      model: name,
      version: '1',
      config: echoConfig(name),
      executors: [0],
      absence: '',
      cacheIdentity: name,
      metricsRow: row,
      memoryBytes: 0,
    };
    table.models.set(name, {
      name,
      versions: [version],
      index: [{ version: '1', state: 'READY', reason: '' }],
      onDemand: false,
    });
  });
  const calls: string[] = [];
  const none = { count: 0, ns: 0 };
  const one = { count: 1, ns: 1000 };
  const services: EchoServices = {
    dataPlane: new EchoPlane(),
    live: true,
    isReady: true,
    calls,
    table: () => table,
    admission: openAdmission(),
    statistics: (model) => {
      if (model !== '' && !table.models.has(model)) throw new SwitchyardError('not_found', `unknown model '${model}'`);
      return [
        {
          name: 'echo',
          version: '1',
          lastInference: 1_700_000_000_000,
          inferenceCount: 1,
          executionCount: 1,
          inferenceStats: {
            success: one,
            fail: none,
            queue: one,
            compute_input: one,
            compute_infer: one,
            compute_output: one,
            cache_hit: none,
            cache_miss: none,
          },
          batchStats: [{ batchSize: 1, computeInput: one, computeInfer: one, computeOutput: one }],
        },
      ];
    },
    features: {
      online: (tenant) => `{"tenant":${JSON.stringify(tenant)}}`,
      call: async () => ({}),
    },
    control: {
      feedback: async () => ({ accepted: 0, rejected: 0, results: [] }),
      repositoryIndex: () =>
        Promise.resolve([...table.models.values()].map((model) => ({ name: model.name, versions: model.index }))),
      loadModel: (name, config, files) => {
        calls.push(`load ${name} ${config} ${[...files.keys()].join()}`);
        return Promise.resolve();
      },
      demand: (name) => {
        calls.push(`demand ${name}`);
        const awake = table.models.get('echo') as ServingModel;
        const versions = awake.versions.map((version) => ({ ...version, model: name }));
        table.models.set(name, { ...awake, name, versions });
        return Promise.resolve();
      },
      unloadModel: (name, dependents) => {
        calls.push(`unload ${name} ${dependents}`);
        return Promise.resolve();
      },
      traceSettings: (model, update) => {
        calls.push(`trace ${model} ${JSON.stringify(update)}`);
        return Promise.resolve({ trace_level: ['OFF'], trace_rate: '1000' });
      },
      logSettings: (update) => {
        calls.push(`log ${JSON.stringify(update)}`);
        return Promise.resolve({ log_info: true, log_verbose_level: 0, log_format: 'default' });
      },
    },
    server: {
      name: 'switchyard',
      version: '0.1.0',
      live: () => services.live,
      ready: () => services.isReady,
      maxBodyBytes: 64 << 20,
      streamForm: 'triton',
    },
  };
  services.dataPlane.demand = (model) => services.control.demand(model);
  return services;
}
