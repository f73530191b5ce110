import { type Frame, FrameReader } from '../executor/frame.ts';
import { ERROR_CODES, REPLY_END, REPLY_ERROR, REPLY_PARTIAL } from '../executor/messages.ts';
import { monotonicMs } from '../shared/clock.ts';
import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { byteLength } from '../tensor/placed.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { PipelineCache } from './cache-step.ts';
import { EnsembleDriver, type StepRunner } from './ensemble-driver.ts';
import { ExecutorBook } from './executor-book.ts';
import { type ExecutorLink, effectivePriority, isCopy } from './executor-link.ts';
import type { JoinedInputs } from './feature-step.ts';
import type { DataPlaneDependencies, DataPlaneOptions } from './parts.ts';
import { newPending, type Pending, PendingSubmission, PendingTable, STATE } from './pending.ts';
import { ResponseOrder } from './response-order.ts';
import type {
  DataPlane,
  InferRequest,
  InferResponse,
  ModelWaiter,
  RequestContext,
  ResponseObserver,
  RoutedHeaders,
  ServingTable,
  ServingVersion,
  Submission,
  Timings,
} from './types.ts';
import { outputMask, validateRequest } from './validate.ts';
import { VersionFinder } from './version-finder.ts';

const NO_HEADERS: RoutedHeaders = { names: [], units: [] };
const NO_SUBMISSION: Submission = { cancel() {} };
const SWEEP_MS = 5;
const NO_REQUEST = { id: '' };

/**
 * The life of every request of a gateway thread: resolve the version, validate, shed or queue, hand over to an
 * executor, answer exactly once. Runs on the gateway thread only; nothing in it blocks.
 */
export class GatewayDataPlane implements DataPlane, StepRunner {
  private readonly executors = new ExecutorBook();
  private readonly pending = new PendingTable();
  private readonly order = new ResponseOrder();
  private readonly ensembles: EnsembleDriver;
  private readonly versions: VersionFinder;
  private readonly options: DataPlaneOptions;
  private readonly dependencies: DataPlaneDependencies;
  /** Runs while a request with a deadline is under way: an idle thread is not woken hundreds of times a second. */
  private sweeper: NodeJS.Timeout | undefined;
  private onIdle: (() => void) | undefined;
  /** monotonicMs() of the arrival of the answers that observers are being given now; undefined: of none. */
  answeredAt: number | undefined;

  constructor(options: DataPlaneOptions, dependencies: DataPlaneDependencies) {
    this.options = options;
    this.dependencies = dependencies;
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
    this.executors.lose(id);
    this.pending.forEach((pending) => {
      if (pending.executor !== id || pending.state !== STATE.QUEUED || pending.turn?.deliver !== undefined) return;
      if (this.executors.sendAgain(pending, this.versions.table, this.pending.size)) return;
      this.fail(
        pending,
        new SwitchyardError(
          'unavailable',
          `An executor of model '${pending.version.model}' ended unexpectedly; retry the request`,
        ),
      );
    });
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
    return this.pending.size + this.versions.waiting;
  }

  /** Resolves when nothing is in flight. */
  idle(): Promise<void> {
    if (this.inFlight === 0) return Promise.resolve();
    return new Promise((resolve) => {
      this.onIdle = resolve;
    });
  }

  private checkIdle(): void {
    if (this.onIdle === undefined || this.inFlight > 0) return;
    this.onIdle();
    this.onIdle = undefined;
  }

  close(): void {
    clearInterval(this.sweeper);
    this.executors.close();
  }

  onFrame(link: ExecutorLink, frame: Frame): void {
    const reader = new FrameReader(frame);
    // Answers of one frame arrived together.
    const now = monotonicMs();
    this.answeredAt = now;
    let answers = 0;
    while (!reader.done) {
      const kind = reader.next();
      const pending = this.pending.get(reader.next());
      if (kind === REPLY_ERROR) {
        const code = ERROR_CODES[reader.next()];
        const text = reader.text(reader.next());
        const retryAfterMs = reader.next();
        answers++;
        // Not the request's doing: its executor, or the process behind it, is gone or going.
        const again = code === 'unavailable' && pending?.executor === link.id;
        if (again && this.executors.sendAgain(pending, this.versions.table, this.pending.size)) continue;
        if (pending !== undefined) {
          const error = new SwitchyardError(code, text, retryAfterMs > 0 ? { retryAfterMs } : {});
          if (pending.turn === undefined) this.fail(pending, error);
          else this.inTurn(pending, () => this.fail(pending, error));
        }
        continue;
      }
      if (kind === REPLY_END) {
        answers++;
        if (pending !== undefined) this.succeed(pending, [], undefined, true, now);
        continue;
      }
      const timings: Timings = {
        queue: reader.next(),
        computeInput: reader.next(),
        computeInfer: reader.next(),
        computeOutput: reader.next(),
        cpu: reader.next(),
        gpu: reader.next(),
        batchSize: reader.next(),
      };
      const count = reader.next();
      const final = kind !== REPLY_PARTIAL;
      if (final) answers++;
      if (pending === undefined) {
        for (let i = 0; i < count; i++) reader.skipTensor();
        continue;
      }
      const outputs: Tensor[] = new Array(count);
      for (let i = 0; i < count; i++) outputs[i] = reader.tensor(pending.version.config.signature.outputs);
      if (pending.turn === undefined) this.succeed(pending, outputs, timings, final, now);
      else this.inTurn(pending, () => this.succeed(pending, outputs, timings, final, monotonicMs()));
    }
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
    this.track(waiting);
    let inner: Submission | undefined;
    joined.then(
      (found) => {
        if (waiting.state === STATE.DONE) return;
        try {
          inner = start(found);
          this.finish(waiting);
        } catch (error) {
          this.fail(waiting, toSwitchyardError(error));
        }
      },
      (error: unknown) => {
        if (waiting.state !== STATE.DONE) this.fail(waiting, toSwitchyardError(error));
      },
    );
    return {
      cancel: () => {
        if (inner === undefined) this.cancel(waiting);
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
    if (config.ensemble !== undefined) return this.startEnsemble(pending);
    const { cache } = this.dependencies;
    if (config.responseCache && cache !== undefined) return this.startCached(pending, cache);
    this.enqueue(pending);
    return new PendingSubmission(this, pending);
  }

  private startEnsemble(pending: Pending): Submission {
    const { version, request, context } = pending;
    this.track(pending);
    try {
      const running = this.ensembles.start(version, request, context, {
        done: (outputs) => {
          if (pending.state !== STATE.DONE) this.succeed(pending, outputs, undefined, true, monotonicMs());
        },
        failed: (error) => {
          if (pending.state !== STATE.DONE) this.fail(pending, error);
        },
      });
      return {
        cancel: () => {
          running.cancel();
          this.cancel(pending);
        },
      };
    } catch (error) {
      this.finish(pending);
      throw error;
    }
  }

  private startCached(pending: Pending, cache: PipelineCache): Submission {
    const { metrics } = this.dependencies;
    const begun = monotonicMs();
    pending.cacheKey = cache.key(pending);
    this.track(pending);
    this.takeTurn(pending);
    const proceed = (found: Tensor[] | undefined): void => {
      if (pending.state === STATE.DONE) return;
      if (found !== undefined) {
        metrics.cacheHit(pending.version, monotonicMs() - begun);
        pending.cacheKey = '';
        this.inTurn(pending, () => this.succeed(pending, found, undefined, true, monotonicMs()));
        return;
      }
      metrics.cacheMiss(pending.version, monotonicMs() - begun);
      this.pending.remove(pending);
      try {
        this.enqueue(pending);
      } catch (error) {
        this.fail(pending, toSwitchyardError(error));
      }
    };
    const found = cache.get(pending.cacheKey);
    if (found instanceof Promise) found.then(proceed, () => proceed(undefined));
    else queueMicrotask(() => proceed(found));
    return new PendingSubmission(this, pending);
  }

  /** Throws overloaded or unavailable; after a successful return the pending table owns the request. */
  private enqueue(pending: Pending): void {
    const link = this.executors.choose(pending, this.options.maxOutstanding);
    pending.executor = link.id;
    this.track(pending);
    this.takeTurn(pending);
    this.dependencies.metrics.pending(pending.version, 1);
    link.send(pending);
  }

  /** Streams are not held back: their first response would wait for the ends of those before. */
  private takeTurn(pending: Pending): void {
    const { handle, config } = pending.version;
    if (!config.batching.preserveOrdering || config.decoupled || pending.turn !== undefined || isCopy(pending)) return;
    pending.turn = this.order.enter(handle, effectivePriority(pending));
  }

  /** Answers now, or once every request of the model that came before has ended. */
  private inTurn(pending: Pending, answer: () => void): void {
    const { turn } = pending;
    if (turn === undefined) answer();
    else turn.line.answer(turn, answer);
  }

  private succeed(
    pending: Pending,
    outputs: Tensor[],
    timings: Timings | undefined,
    final: boolean,
    now: number,
  ): void {
    const { request, version } = pending;
    if (final) {
      const cacheable = pending.cacheKey !== '' && !version.config.decoupled;
      if (cacheable) this.dependencies.cache?.set(pending.cacheKey, outputs);
      this.finish(pending);
      this.dependencies.metrics.success(pending, outputs, timings ?? pending.streamed, now);
    } else {
      pending.streamed = timings;
    }
    const response: InferResponse = {
      model: version.model,
      version: version.version,
      id: request.id,
      outputs,
      parameters: undefined,
      timings,
    };
    pending.observer.onResponse(response, final);
  }

  private fail(pending: Pending, error: SwitchyardError): void {
    this.finish(pending);
    this.dependencies.metrics.failure(pending.version, pending.request, pending.context, error);
    pending.observer.onError(error);
  }

  cancel(pending: Pending): void {
    if (pending.state === STATE.DONE) return;
    this.finish(pending);
    this.executors.get(pending.executor)?.cancel(pending);
    this.dependencies.metrics.failure(
      pending.version,
      pending.request,
      pending.context,
      new SwitchyardError('cancelled', 'The client went away'),
    );
  }

  private finish(pending: Pending): void {
    pending.state = STATE.DONE;
    this.pending.remove(pending);
    this.executors.ended(pending);
    if (pending.executor >= 0) this.dependencies.metrics.pending(pending.version, -1);
    const { turn } = pending;
    if (turn !== undefined && !turn.ended) turn.line.leave(turn);
    this.checkIdle();
  }

  /** An executor that is busy or stuck cannot tell its requests that they are late: the gateway does. */
  private track(pending: Pending): void {
    this.pending.add(pending);
    if (this.pending.withDeadline > 0 && this.sweeper === undefined)
      this.sweeper = setInterval(() => this.sweepDeadlines(), SWEEP_MS).unref();
  }

  private sweepDeadlines(): void {
    if (this.pending.withDeadline === 0) {
      clearInterval(this.sweeper);
      this.sweeper = undefined;
      return;
    }
    const now = monotonicMs();
    this.pending.forEach((pending) => {
      if (pending.context.deadline >= now) return;
      this.executors.get(pending.executor)?.cancel(pending);
      this.fail(
        pending,
        new SwitchyardError(
          'deadline_exceeded',
          `The deadline of the request to model '${pending.version.model}' passed after ${(now - pending.context.receivedAt).toFixed(0)} ms`,
        ),
      );
    });
  }
}
