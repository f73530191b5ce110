import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import type { Backend, BackendModel, ExecuteOptions } from '../backends/backend.ts';
import type { ModelConfig } from '../config/model-config.ts';
import { ExecutorCore } from '../executor/core.ts';
import type { Frame } from '../executor/frame.ts';
import { RunMark } from '../executor/run-mark.ts';
import type { PipelineCache } from '../pipeline/cache-step.ts';
import { GatewayDataPlane } from '../pipeline/data-plane.ts';
import { ExecutorLink } from '../pipeline/executor-link.ts';
import type { RequestMetrics } from '../pipeline/parts.ts';
import type { InferRequest, InferResponse, RequestContext, ServingVersion } from '../pipeline/types.ts';
import { monotonicMs } from '../shared/clock.ts';
import type { SwitchyardError } from '../shared/errors.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** `executor`: the number of the one that runs it. */
export type FakeExecute = (inputs: Tensor[], options: ExecuteOptions, executor: number) => Tensor[] | Promise<Tensor[]>;

/** A gateway data plane and executors in one thread, joined by real message ports; models run as given functions. */
export class Loopback {
  readonly plane: GatewayDataPlane;
  readonly counts = { success: 0, failure: 0, batches: [] as number[] };
  readonly cores: ExecutorCore[] = [];
  private readonly ports: { close(): void }[] = [];
  private readonly versions: ServingVersion[] = [];
  private readonly blocking: boolean;

  constructor(
    options: {
      maxOutstanding?: number;
      defaultTimeoutMs?: number;
      executors?: number;
      blocking?: boolean;
      cache?: PipelineCache;
      demand?: (model: string) => Promise<void>;
      onUsed?: (model: string) => void;
    } = {},
  ) {
    this.blocking = options.blocking ?? true;
    const metrics: RequestMetrics = {
      pending: () => {},
      success: () => {
        this.counts.success++;
      },
      failure: () => {
        this.counts.failure++;
      },
      cacheHit: () => {},
      cacheMiss: () => {},
    };
    this.plane = new GatewayDataPlane(
      { maxOutstanding: options.maxOutstanding ?? 4096, defaultTimeoutMs: options.defaultTimeoutMs ?? 0 },
      {
        metrics,
        cache: options.cache,
        demand: options.demand ?? (() => Promise.reject(new Error('nothing to load'))),
        onUsed: options.onUsed,
      },
    );
    for (let id = 0; id < (options.executors ?? 1); id++) this.addExecutor(id);
  }

  /** Loads a function as a version of `config.name` on every executor. */
  async load(config: ModelConfig, execute: FakeExecute, version = '1'): Promise<ServingVersion> {
    const handle = this.versions.length + 1;
    const modelOn = (executor: number): BackendModel => ({
      signature: config.signature,
      concurrency: 4,
      memoryBytes: 0,
      execute: (inputs, options) => execute(inputs, options, executor),
      unload: async () => {},
    });
    const serving: ServingVersion = {
      handle,
      model: config.name,
      version,
      config,
      executors: config.ensemble === undefined ? this.cores.map((_, id) => id) : [],
      absence: '',
      cacheIdentity: String(handle),
      metricsRow: handle,
      memoryBytes: 0,
    };
    if (config.ensemble === undefined) {
      for (const [executor, core] of this.cores.entries()) {
        this.models.set(handle, { name: 'fake', blocking: this.blocking, load: async () => modelOn(executor) });
        await core.load(
          handle,
          { model: config.name, version, config, directory: '', modelDirectory: '', device: -1 },
          handle,
        );
      }
    }
    this.versions.push(serving);
    this.publish();
    return serving;
  }

  infer(
    request: Partial<InferRequest> & { inputs: Tensor[] },
    context: Partial<RequestContext> = {},
    keepInputs: boolean = false,
  ): Promise<InferResponse> {
    return new Promise((resolve, reject) => {
      this.plane.infer(
        { model: 'test', version: '', id: '', outputs: [], parameters: undefined, ...request },
        {
          protocol: 'http',
          tenant: 'default',
          receivedAt: monotonicMs(),
          deadline: Number.POSITIVE_INFINITY,
          priority: 0,
          maxPriority: 0,
          traceparent: '',
          tracestate: '',
          path: '',
          headers: undefined,
          served: undefined,
          ...context,
        },
        {
          onResponse: (response, final) => final && resolve(response),
          onError: (error: SwitchyardError) => reject(error),
        },
        keepInputs,
      );
    });
  }

  close(): void {
    this.plane.close();
    for (const port of this.ports) port.close();
  }

  private readonly models = new Map<number, Backend>();

  private addExecutor(id: number): void {
    const { port1, port2 } = new MessageChannel();
    const core = new ExecutorCore({
      backend: async (_, handle) => this.models.get(handle) as Backend,
      complete: (config) => config,
      warmUp: async () => {},
      onAbsence: () => {},
      send: (_, frame, transfer) => port1.postMessage(frame, transfer),
      metrics: { recordBatch: (_row, rows) => this.counts.batches.push(rows), recordFailedRun: () => {} },
      mark: new RunMark(RunMark.allocate()),
      drainPorts: () => {
        for (let message = receiveMessageOnPort(port1); message !== undefined; message = receiveMessageOnPort(port1)) {
          core.receive(0, message.message as Frame);
        }
      },
    });
    port1.on('message', (frame: Frame) => {
      core.receive(0, frame);
      core.pump();
    });
    this.cores.push(core);
    this.ports.push(port1);
    this.plane.addExecutor(new ExecutorLink(id, port2, (link, frame) => this.plane.onFrame(link, frame)));
  }

  private publish(): void {
    const models = new Map();
    for (const version of this.versions) {
      const versions = this.versions.filter((other) => other.model === version.model).reverse();
      const index = versions.map((ready) => ({ version: ready.version, state: 'READY' as const, reason: '' }));
      models.set(version.model, { name: version.model, versions, index, onDemand: false });
    }
    this.plane.setTable({ generation: this.versions.length, models });
  }
}

export function fp32(name: string, shape: number[], values: readonly number[]): Tensor {
  return { name, datatype: 'FP32', shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

export function floats(tensor: Tensor): number[] {
  return [...new Float32Array(tensor.data.slice().buffer)];
}
