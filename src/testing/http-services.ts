import type { Admission, Credentials, Identity } from '../admission/admission.ts';
import type { ModelConfig, ModelSignature, TensorSpec } from '../config/model-config.ts';
import type {
  DataPlane,
  InferRequest,
  ModelWaiter,
  RequestContext,
  ResponseObserver,
  RoutedHeaders,
  Served,
  ServingTable,
  Submission,
} from '../pipeline/types.ts';
import type { GatewayServices } from '../server/services.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { batching, policy } from './batching.ts';
import { modelConfig as completeConfig } from './models.ts';

function spec(name: string, datatype: TensorSpec['datatype'], dims: number[], labels?: string[]): TensorSpec {
  return labels === undefined ? { name, datatype, dims } : { name, datatype, dims, labels };
}

export function modelConfig(name: string, signature: ModelSignature): ModelConfig {
  const { maxBatchSize } = signature;
  return completeConfig({
    name,
    backend: 'echo',
    signature,
    batching: batching({ maxBatchSize, defaultQueuePolicy: policy({ allowTimeoutOverride: true }) }),
    instanceGroups: [],
    versionLabels: { stable: '1' },
    raw: { name, max_batch_size: maxBatchSize },
  });
}

/** Answers with the inputs as outputs, on a later turn; holds requests while `held` is set. */
export class EchoPlane implements DataPlane {
  /** What clients are told of refused requests. */
  refusal: Served | undefined;

  refused(): Served | undefined {
    return this.refusal;
  }

  readonly contexts: RequestContext[] = [];
  readonly requests: InferRequest[] = [];
  cancelled = 0;
  /** Requests wait here instead of being answered. */
  held: { request: InferRequest; observer: ResponseObserver }[] | undefined;
  /** Set: called instead of echoing. */
  behaviour: ((request: InferRequest, observer: ResponseObserver) => void) | undefined;

  /** Loads what a request waits for. */
  demand: (model: string) => Promise<void> = () => Promise.resolve();

  headersOf(): RoutedHeaders {
    return { names: [], units: [] };
  }

  awaitModel(model: string, _version: string, _context: RequestContext, waiter: ModelWaiter): Submission {
    this.demand(model).then(
      () => waiter.onReady(),
      (error) => waiter.onError(error),
    );
    return { cancel: () => void this.cancelled++ };
  }

  infer(request: InferRequest, context: RequestContext, observer: ResponseObserver): Submission {
    this.requests.push(request);
    this.contexts.push(context);
    if (request.model === 'missing') {
      throw new SwitchyardError('not_found', "Request for unknown model: 'missing' is not found");
    }
    const entry = { request, observer };
    if (this.held !== undefined) this.held.push(entry);
    else if (this.behaviour !== undefined) this.behaviour(request, observer);
    else setImmediate(() => echo(request, observer));
    return {
      cancel: () => {
        this.cancelled++;
        if (this.held !== undefined) this.held = this.held.filter((other) => other !== entry);
      },
    };
  }
}

export function echo(request: InferRequest, observer: ResponseObserver, final = true): void {
  observer.onResponse(
    {
      model: request.model,
      version: '1',
      id: request.id,
      outputs: request.inputs,
      parameters: undefined,
      timings: { queue: 0.25, computeInput: 0, computeInfer: 1.5, computeOutput: 0.001, batchSize: 4 },
    },
    final,
  );
}

/** Knows the tokens 'good' (tenant a), 'boss' (control) and 'busy' (always over its rate). */
export class FakeAdmission implements Admission {
  enabled = false;
  /** Answers by promise, as a JWKS or Redis lookup would. */
  slow = false;
  /** Set: what slow calls of admit wait for. */
  gate: Promise<void> | undefined;
  /** Slow calls of admit, answered or not. */
  admitting = 0;
  admitted = 0;
  released = 0;

  authenticate(credentials: Credentials): Identity | Promise<Identity> {
    const token = credentials.apiKey || credentials.authorization.replace('Bearer ', '') || credentials.certificateName;
    if (!['good', 'boss', 'busy', 'client'].includes(token)) {
      const error = new SwitchyardError('unauthenticated', 'unknown key');
      if (this.slow) return Promise.reject(error);
      throw error;
    }
    const identity = { tenant: token, roles: token === 'boss' ? ['infer', 'control'] : ['infer'], maxPriority: 2 };
    return this.slow ? new Promise((resolve) => setTimeout(resolve, 5, identity)) : identity;
  }

  admit(identity: Identity): void | Promise<void> {
    if (identity.tenant === 'busy') {
      throw new SwitchyardError('overloaded', 'rate limit of the tenant reached', { retryAfterMs: 2500 });
    }
    if (this.slow) {
      this.admitting++;
      return (this.gate ?? new Promise((resolve) => setTimeout(resolve, 5))).then(() => {
        this.admitted++;
      });
    }
    this.admitted++;
  }

  release(): void {
    this.released++;
  }

  async close(): Promise<void> {}
}

export interface FakeServices extends GatewayServices {
  dataPlane: EchoPlane;
  admission: FakeAdmission;
  /** Calls to the control thread: name and arguments. */
  calls: unknown[][];
  isReady: boolean;
}

/** GatewayServices in memory: a model `echo` (FP32 [4] and BYTES inputs), `scores` (labels) and `sleeping` (on demand). */
export function fakeServices(maxBodyBytes = 1 << 20): FakeServices {
  const signatures: Record<string, ModelSignature> = {
    echo: { inputs: [spec('x', 'FP32', [4])], outputs: [spec('x', 'FP32', [4])], maxBatchSize: 8 },
    scores: {
      inputs: [spec('x', 'FP32', [-1])],
      outputs: [spec('x', 'FP32', [-1], ['cat', 'dog', 'owl', 'elk'])],
      maxBatchSize: 8,
    },
  };
  const table: ServingTable = { generation: 1, models: new Map() };
  for (const [name, signature] of Object.entries(signatures)) addModel(table, name, signature);
  table.models.set('sleeping', { name: 'sleeping', versions: [], index: [], onDemand: true });
  table.models.set('broken', {
    name: 'broken',
    versions: [],
    index: [{ version: '1', state: 'UNAVAILABLE', reason: 'failed to load' }],
    onDemand: false,
  });
  const calls: unknown[][] = [];
  const services: FakeServices = {
    dataPlane: new EchoPlane(),
    admission: new FakeAdmission(),
    calls,
    isReady: true,
    table: () => table,
    statistics: (model, version) => {
      if (model === 'missing') throw new SwitchyardError('not_found', 'no such model');
      calls.push(['statistics', model, version]);
      return [];
    },
    features: {
      online: (tenant) => `{"tenant":${JSON.stringify(tenant)}}`,
      call: async () => ({}),
    },
    control: {
      feedback: async () => ({ accepted: 0, rejected: 0, results: [] }),
      async repositoryIndex(readyOnly) {
        calls.push(['index', readyOnly]);
        return [...table.models.values()].map((model) => ({ name: model.name, versions: model.index }));
      },
      async loadModel(name, config, files) {
        calls.push(['load', name, config, files]);
        if (name === 'unloadable') throw new SwitchyardError('failed_precondition', 'failed to load');
      },
      async demand(name) {
        calls.push(['demand', name]);
        if (name === 'sleeping') addModel(table, name, signatures.echo);
      },
      async unloadModel(name, unloadDependents) {
        calls.push(['unload', name, unloadDependents]);
      },
      async traceSettings(model, update) {
        calls.push(['trace', model, update]);
        return { trace_level: ['OFF'] };
      },
      async logSettings(update) {
        calls.push(['log', update]);
        return { log_info: true };
      },
    },
    server: {
      name: 'switchyard',
      version: '0.0.0',
      live: () => true,
      ready: () => services.isReady,
      maxBodyBytes,
      streamForm: 'triton',
    },
  };
  services.dataPlane.demand = (model) => services.control.demand(model);
  return services;
}

function addModel(table: ServingTable, name: string, signature: ModelSignature): void {
  const config = modelConfig(name, signature);
  const version = {
    handle: 1,
    model: name,
    version: '1',
    config,
    executors: [0],
    absence: '',
    cacheIdentity: '1',
    metricsRow: 0,
    memoryBytes: 0,
  };
  table.models.set(name, {
    name,
    versions: [version],
    index: [{ version: '1', state: 'READY', reason: '' }],
    onDemand: false,
  });
}
