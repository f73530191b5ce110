import { SwitchyardError, toSwitchyardError } from '../shared/errors.ts';
import { type EnsembleProgress, EnsembleRun, type ReadyStep } from './ensemble.ts';
import { type EnsemblePlan, planEnsemble } from './ensemble-plan.ts';
import type {
  InferRequest,
  InferResponse,
  RequestContext,
  ResponseObserver,
  ServingVersion,
  Submission,
} from './types.ts';

/** What the driver needs of the data plane: to run one step as a request of its own. */
export interface StepRunner {
  /** The version that serves this step now. Throws not_found, unavailable. */
  findVersion(model: string, version: string): ServingVersion;
  /** `keepInputs`: the inputs' bytes are wanted again, so they must be copied and not given away. */
  runStep(
    version: ServingVersion,
    request: InferRequest,
    context: RequestContext,
    observer: ResponseObserver,
    keepInputs: boolean,
  ): Submission;
}

/** How the ensemble's answer reaches the client. */
export interface EnsembleObserver {
  done(outputs: InferResponse['outputs']): void;
  failed(error: SwitchyardError): void;
}

/**
 * Runs ensembles on the gateway thread: the state machine says which steps are ready, each goes through the same
 * queues and batches as a client's request. Every step resolves its version when the ensemble starts, so that one
 * request never mixes versions across a swap.
 */
export class EnsembleDriver {
  private readonly runner: StepRunner;
  private readonly plans = new WeakMap<ServingVersion, EnsemblePlan>();
  private readonly inFlight = new WeakMap<ServingVersion, number>();

  constructor(runner: StepRunner) {
    this.runner = runner;
  }

  /**
   * The ensemble by content, with every version that it would run now: what its cached answers belong to. Undefined: a step
   * reads the feature store, whose values are not part of the request. Throws not_found, unavailable.
   */
  identity(version: ServingVersion): string | undefined {
    const { ensemble, features } = version.config;
    if (features !== undefined) return undefined;
    let identity = version.cacheIdentity;
    for (const { modelName, modelVersion } of ensemble ?? []) {
      const step = this.identity(this.runner.findVersion(modelName, modelVersion));
      if (step === undefined) return undefined;
      identity += ` ${step}`;
    }
    return identity;
  }

  /** Throws overloaded when the ensemble's bound on requests in flight is reached, and whatever its first steps throw. */
  start(
    version: ServingVersion,
    request: InferRequest,
    context: RequestContext,
    observer: EnsembleObserver,
  ): Submission {
    const { config } = version;
    const running = this.inFlight.get(version) ?? 0;
    if (config.maxInflight > 0 && running >= config.maxInflight) {
      throw new SwitchyardError(
        'overloaded',
        `Ensemble '${config.name}' has ${running} requests in flight, its limit; retry later`,
        {
          retryAfterMs: 1000,
        },
      );
    }
    let plan = this.plans.get(version);
    if (plan === undefined) {
      plan = planEnsemble(config);
      this.plans.set(version, plan);
    }
    const versions = plan.steps.map((step) => this.runner.findVersion(step.modelName, step.modelVersion));
    this.inFlight.set(version, running + 1);
    const release = (): void => {
      this.inFlight.set(version, (this.inFlight.get(version) ?? 1) - 1);
    };
    const run = new EnsembleRun(
      plan,
      request.outputs.map((output) => output.name),
    );
    return new RunningEnsemble(this.runner, run, versions, request, context, observer, release).begin();
  }
}

class RunningEnsemble implements Submission {
  private readonly runner: StepRunner;
  private readonly run: EnsembleRun;
  private readonly versions: readonly ServingVersion[];
  private readonly request: InferRequest;
  private readonly context: RequestContext;
  private readonly observer: EnsembleObserver;
  private readonly release: () => void;
  private readonly steps = new Map<number, Submission>();
  private over = false;

  constructor(
    runner: StepRunner,
    run: EnsembleRun,
    versions: readonly ServingVersion[],
    request: InferRequest,
    context: RequestContext,
    observer: EnsembleObserver,
    release: () => void,
  ) {
    this.runner = runner;
    this.run = run;
    this.versions = versions;
    this.request = request;
    this.context = context;
    this.observer = observer;
    this.release = release;
  }

  begin(): this {
    this.advance(() => this.run.start(this.request.inputs));
    return this;
  }

  cancel(): void {
    this.end();
  }

  private advance(step: () => EnsembleProgress): void {
    if (this.over) return;
    try {
      const { ready, done } = step();
      for (const next of ready) this.launch(next);
      if (done !== undefined && !this.over) {
        this.end();
        this.observer.done(done);
      }
    } catch (thrown) {
      this.fail(toSwitchyardError(thrown));
    }
  }

  private launch(step: ReadyStep): void {
    const version = this.versions[step.step];
    const request: InferRequest = {
      model: step.modelName,
      version: version.version,
      id: this.request.id,
      inputs: step.inputs,
      outputs: step.outputs.map((name) => ({ name, binary: true, classification: 0 })),
      parameters: this.request.parameters,
    };
    const submission = this.runner.runStep(
      version,
      request,
      this.context,
      {
        onResponse: (response, final) => {
          if (!final) return;
          this.steps.delete(step.step);
          this.advance(() => this.run.complete(step.step, response.outputs));
        },
        onError: (error) => {
          this.steps.delete(step.step);
          this.fail(
            new SwitchyardError(
              error.code,
              `in ensemble '${this.request.model}', step '${step.modelName}': ${error.message}`,
              { retryAfterMs: error.retryAfterMs },
            ),
          );
        },
      },
      step.shared,
    );
    this.steps.set(step.step, submission);
  }

  private fail(error: SwitchyardError): void {
    if (this.over) return;
    this.end();
    this.observer.failed(error);
  }

  private end(): void {
    if (this.over) return;
    this.over = true;
    this.run.fail();
    for (const submission of this.steps.values()) submission.cancel();
    this.steps.clear();
    this.release();
  }
}
