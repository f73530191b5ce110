import type { Frame } from '../executor/frame.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { byteLength } from '../tensor/placed.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { PipelineCache } from './cache-step.ts';
import { EnsembleDriver, type StepRunner } from './ensemble-driver.ts';
import { ExecutorBook } from './executor-book.ts';
import type { ExecutorLink } from './executor-link.ts';
import type { JoinedInputs } from './feature-step.ts';
import { InFlight } from './in-flight.ts';
import type { DataPlaneDependencies, DataPlaneOptions } from './parts.ts';
import { newPending, type Pending, PendingSubmission, STATE } from './pending.ts';
import { takeReplies } from './replies.ts';
import type {
  DataPlane,
  InferRequest,
  ModelWaiter,
  RequestContext,
  ResponseObserver,
  RoutedHeaders,
  ServingTable,
  ServingVersion,
  Submission,
} from './types.ts';
import { outputMask, validateRequest } from './validate.ts';
import { VersionFinder } from './version-finder.ts';

const NO_HEADERS: RoutedHeaders = { names: [], units: [] };
const NO_SUBMISSION: Submission = { cancel() {} };
const NO_REQUEST = { id: '' };

/**
 * How every request of a gateway thread begins: resolve the version, validate, shed or queue, hand over to an executor.
 * How it ends is InFlight's. Runs on the gateway thread only; nothing in it blocks.
 */
export class GatewayDataPlane implements DataPlane, StepRunner {
  private readonly executors = new ExecutorBook();
  private readonly requests: InFlight;
  private readonly ensembles: EnsembleDriver;
  private readonly versions: VersionFinder;
  private readonly options: DataPlaneOptions;
  private readonly dependencies: DataPlaneDependencies;
  private onIdle: (() => void) | undefined;
  /** monotonicMs() of the arrival of the answers that observers are being given now; undefined: of none. */
  answeredAt: number | undefined;

  constructor(options: DataPlaneOptions, dependencies: DataPlaneDependencies) {
    this.options = options;
    this.dependencies = dependencies;
    const { metrics, cache } = dependencies;
    this.requests = new InFlight({ executors: this.executors, metrics, cache, table: () => this.versions.table });
    this.ensembles = new EnsembleDriver(this);
    this.versions = new VersionFinder(options.maxOutstanding, {
      ...dependencies,
      failed: (...failure) => dependencies.metrics.failure(...failure),
      onLeft: () => this.checkIdle(),
    });
  }

  currentTable(): ServingTable {
    return this.versions.table;
  }

  setTable(table: ServingTable): void {
    this.versions.table = table;
  }

  addExecutor(link: ExecutorLink): void {
    this.executors.add(link);
  }

  /** The executor died: its requests go once to another one that holds the version, or fail as unavailable. */
  loseExecutor(id: number): void {
    this.requests.loseExecutor(id);
  }

  headersOf(): RoutedHeaders {
    return NO_HEADERS;
  }

  /** Nothing is counted by model before `infer`. */
  refused(): undefined {}

  /** `keepInputs`: the caller reads the tensors again, or sends the same request once more. */
  infer(
    request: InferRequest,
    context: RequestContext,
    observer: ResponseObserver,
    keepInputs: boolean = false,
  ): Submission {
    let version: ServingVersion | undefined;
    try {
      version = this.versions.resolve(request.model, request.version);
      this.dependencies.onUsed?.(request.model);
      const missing = this.versions.missing(version, request.model);
      if (version !== undefined && missing.length === 0) {
        return this.start(version, request, context, observer, keepInputs);
      }
      this.limitTime(context);
      return this.versions.wait(missing, request.model, request.version, request, context, {
        enter: () => {
          const found = this.versions.resolve(request.model, request.version);
          const still = this.versions.missing(found, request.model);
          if (found === undefined || still.length > 0) return still;
          return this.start(found, request, context, observer, keepInputs);
        },
        failed: (error) => observer.onError(error),
      });
    } catch (thrown) {
      const error = toSwitchyardError(thrown);
      if (version !== undefined) {
        this.dependencies.metrics.failure(version, request, context, error);
      }
      observer.onError(error);
      return NO_SUBMISSION;
    }
  }

  awaitModel(model: string, version: string, context: RequestContext, waiter: ModelWaiter): Submission {
    const found = this.versions.resolve(model, version);
    this.dependencies.onUsed?.(model);
    if (found !== undefined) {
      waiter.onReady();
      return NO_SUBMISSION;
    }
    this.limitTime(context);
    return this.versions.wait([model], model, version, NO_REQUEST, context, {
      enter: () => {
        if (this.versions.resolve(model, version) === undefined) return [model];
        waiter.onReady();
        return NO_SUBMISSION;
      },
      failed: (error) => waiter.onError(error),
    });
  }

  /** Requests in flight here. */
  get inFlight(): number {
    return this.requests.pending.size + this.versions.waiting;
  }

  /** Resolves when nothing is in flight. */
  idle(): Promise<void> {
    if (this.inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.onIdle = resolve;
      this.requests.onEmpty = () => this.checkIdle();
    });
  }

  private checkIdle(): void {
    if (this.onIdle === undefined || this.inFlight > 0) return;
    this.onIdle();
    this.onIdle = undefined;
    this.requests.onEmpty = undefined;
  }

  close(): void {
    this.requests.close();
    this.executors.close();
  }

  onFrame(link: ExecutorLink, frame: Frame): void {
    const now = monotonicMs();
    this.answeredAt = now;
    const answers = takeReplies(frame, link.id, now, this.requests);
    this.answeredAt = undefined;
    if (answers > 0) link.answered(answers, monotonicMs());
  }

  findVersion(model: string, version: string): ServingVersion {
    return this.versions.find(model, version);
  }

  runStep(
    version: ServingVersion,
    request: InferRequest,
    context: RequestContext,
    observer: ResponseObserver,
    keepInputs: boolean,
  ): Submission {
    return this.start(version, request, context, observer, keepInputs);
  }

  private start(
    version: ServingVersion,
    request: InferRequest,
    context: RequestContext,
    observer: ResponseObserver,
    keepInputs: boolean,
  ): Submission {
    this.limitTime(context);
    if (version.config.features !== undefined) return this.startJoined(version, request, context, observer, keepInputs);
    return this.startWhole(version, request, context, observer, keepInputs);
  }

  private limitTime(context: RequestContext): void {
    if (context.deadline === Number.POSITIVE_INFINITY && this.options.defaultTimeoutMs > 0) {
      context.deadline = context.receivedAt + this.options.defaultTimeoutMs;
    }
  }

  /** First gets the inputs that come from the feature store. Meanwhile the request is in flight like any other. */
  private startJoined(
    version: ServingVersion,
    request: InferRequest,
    context: RequestContext,
    observer: ResponseObserver,
    keepInputs: boolean,
  ): Submission {
    const { features } = this.dependencies;
    if (features === undefined) throw new SwitchyardError('unavailable', 'there is no feature store on this thread');
    const start = ({ inputs, added }: JoinedInputs): Submission => {
      if (context.served !== undefined) context.served.joined = added;
      return this.startWhole(version, { ...request, inputs }, context, observer, keepInputs);
    };
    const joined = features.join(version, request, context);
    if (!(joined instanceof Promise)) return start(joined);
    const waiting = newPending(version, request, context, observer);
    this.requests.add(waiting);
    let inner: Submission | undefined;
    joined.then(
      (found) => {
        if (waiting.state === STATE.DONE) return;
        try {
          inner = start(found);
          this.requests.finish(waiting);
        } catch (error) {
          this.requests.fail(waiting, toSwitchyardError(error));
        }
      },
      (error: unknown) => {
        if (waiting.state !== STATE.DONE) this.requests.fail(waiting, toSwitchyardError(error));
      },
    );
    return {
      cancel: () => {
        if (inner === undefined) this.requests.cancel(waiting);
        else inner.cancel();
      },
    };
  }

  /** Throws SwitchyardError for a request that the version does not take. */
  private startWhole(
    version: ServingVersion,
    request: InferRequest,
    context: RequestContext,
    observer: ResponseObserver,
    keepInputs: boolean,
  ): Submission {
    const { config } = version;
    const pending = newPending(version, request, context, observer);
    pending.rows = validateRequest(request, config);
    if (config.validation !== undefined) this.dependencies.door?.check(version, request, context);
    pending.outputs = outputMask(request, config);
    pending.inputBytes = byteLength(request.inputs);
    pending.replayable = keepInputs || version.executors.length > 1;
    const { cache } = this.dependencies;
    if (config.responseCache && cache !== undefined) {
      // A request that waited for the feature store has its values in its inputs.
      const identity = config.ensemble === undefined ? version.cacheIdentity : this.ensembles.identity(version);
      if (identity !== undefined) return this.startCached(pending, cache, identity);
    }
    return this.run(pending);
  }

  /** `identity`: of an ensemble whose answer is kept. */
  private run(pending: Pending, identity?: string): Submission {
    if (pending.version.config.ensemble !== undefined) return this.startEnsemble(pending, identity);
    this.enqueue(pending);
    return new PendingSubmission(this.requests, pending);
  }

  private startEnsemble(pending: Pending, identity?: string): Submission {
    const { version, request, context } = pending;
    this.requests.add(pending);
    try {
      const running = this.ensembles.start(version, request, context, {
        done: (outputs) => {
          if (pending.state === STATE.DONE) return;
          if (identity !== undefined) pending.cacheKey = this.keptUnder(pending, identity);
          this.requests.succeed(pending, outputs, undefined, true, monotonicMs());
        },
        failed: (error) => {
          if (pending.state !== STATE.DONE) this.requests.fail(pending, error);
        },
      });
      return {
        cancel: () => {
          running.cancel();
          this.requests.cancel(pending);
        },
      };
    } catch (error) {
      this.requests.finish(pending);
      throw error;
    }
  }

  /** The key of an ensemble's answer; '' where a step's version was changed meanwhile, and the answer may be of both. */
  private keptUnder(pending: Pending, identity: string): string {
    try {
      return this.ensembles.identity(pending.version) === identity ? pending.cacheKey : '';
    } catch {
      return '';
    }
  }

  private startCached(pending: Pending, cache: PipelineCache, identity: string): Submission {
    const { metrics } = this.dependencies;
    const begun = monotonicMs();
    pending.cacheKey = cache.key(pending, identity);
    let inner: Submission = new PendingSubmission(this.requests, pending);
    this.requests.add(pending);
    this.requests.takeTurn(pending);
    const proceed = (found: Tensor[] | undefined): void => {
      if (pending.state === STATE.DONE) return;
      if (found !== undefined) {
        metrics.cacheHit(pending.version, monotonicMs() - begun);
        pending.cacheKey = '';
        this.requests.inTurn(pending, () => this.requests.succeed(pending, found, undefined, true, monotonicMs()));
        return;
      }
      metrics.cacheMiss(pending.version, monotonicMs() - begun);
      this.requests.pending.remove(pending);
      try {
        inner = this.run(pending, identity);
      } catch (error) {
        this.requests.fail(pending, toSwitchyardError(error));
      }
    };
    const found = cache.get(pending.cacheKey);
    if (found instanceof Promise) found.then(proceed, () => proceed(undefined));
    else queueMicrotask(() => proceed(found));
    return { cancel: () => inner.cancel() };
  }

  /** Throws overloaded or unavailable; after a successful return the pending table owns the request. */
  private enqueue(pending: Pending): void {
    const link = this.executors.choose(pending, this.options.maxOutstanding);
    pending.executor = link.id;
    this.requests.add(pending);
    this.requests.takeTurn(pending);
    this.dependencies.metrics.pending(pending.version, 1);
    link.send(pending);
  }
}
