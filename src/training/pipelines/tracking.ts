import { RegistryError } from '../../registry/errors.ts';
import type { JsonRoute, RestRoute } from '../../registry/rest/route.ts';

/** An answer of the registry. */
// biome-ignore lint/suspicious/noExplicitAny: answers of many shapes, as on the wire
type Answer = any;

export interface RunFacts {
  experiment: string;
  name: string;
  tags: Record<string, string>;
  params?: Record<string, string>;
}

export interface TrackedRun {
  runId: string;
  experimentId: string;
  artifactUri: string;
}

export const PARENT_TAG = 'mlflow.parentRunId';
export const COMMIT_TAG = 'mlflow.source.git.commit';

/** The registry's own API, called in this process: same checks, same events, same history as over HTTP. */
export class RegistryCalls {
  private readonly routes: ReadonlyMap<string, JsonRoute>;
  private readonly experiments = new Map<string, string>();

  constructor(routes: readonly RestRoute[]) {
    this.routes = new Map(
      routes.flatMap((route): [string, JsonRoute][] => ('handle' in route ? [[route.operationId, route]] : [])),
    );
  }

  /** @param operation of the OpenAPI description. Throws RegistryError, as the call answers. */
  async call(operation: string, values: object, actor = 'pipeline'): Promise<Answer> {
    const route = this.routes.get(operation);
    if (route === undefined) throw new Error(`the registry has no operation ${operation}`);
    const answer = await route.handle(route.request.parse(values) as never, { actor });
    return typeof answer === 'string' ? JSON.parse(answer) : answer;
  }

  /** As `call`; undefined for what is not there. */
  async find(operation: string, values: object): Promise<Answer | undefined> {
    try {
      return await this.call(operation, values);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async experiment(name: string): Promise<string> {
    const known = await this.find('mlflowGetExperimentByName', { experiment_name: name });
    if (known !== undefined) return known.experiment.experiment_id;
    try {
      return (await this.call('mlflowCreateExperiment', { name })).experiment_id;
    } catch (error) {
      // Somebody else was faster.
      const again = await this.find('mlflowGetExperimentByName', { experiment_name: name });
      if (again === undefined) throw error;
      return again.experiment.experiment_id;
    }
  }

  async createRun({ experiment, name, tags, params = {} }: RunFacts): Promise<TrackedRun> {
    const list = Object.entries(tags).map(([key, value]) => ({ key, value }));
    const create = (experiment_id: string) =>
      this.call('mlflowCreateRun', { experiment_id, run_name: name, tags: list });
    let experimentId = this.experiments.get(experiment);
    let made = experimentId === undefined ? undefined : await create(experimentId).catch(() => undefined);
    if (made === undefined) {
      // Not seen yet, or deleted meanwhile.
      experimentId = await this.experiment(experiment);
      made = await create(experimentId);
      this.experiments.set(experiment, experimentId);
    }
    const { run } = made;
    const found = { runId: run.info.run_id, experimentId: experimentId as string, artifactUri: run.info.artifact_uri };
    await this.log(found.runId, { params });
    return found;
  }

  async artifactUri(runId: string): Promise<string> {
    return (await this.call('mlflowGetRun', { run_id: runId })).run.info.artifact_uri;
  }

  async log(
    runId: string,
    { params = {}, metrics = {} }: { params?: Record<string, string>; metrics?: Record<string, number> },
  ): Promise<void> {
    const timestamp = Date.now();
    const pairs = Object.entries(params).map(([key, value]) => ({ key, value: value.slice(0, 6000) }));
    const points = Object.entries(metrics).map(([key, value]) => ({ key, value, timestamp, step: 0 }));
    for (let i = 0; i < Math.max(pairs.length, points.length); i += 100)
      await this.call('mlflowLogBatch', {
        run_id: runId,
        params: pairs.slice(i, i + 100),
        metrics: points.slice(i, i + 100),
      });
  }

  async endRun(runId: string, status: 'FINISHED' | 'FAILED' | 'KILLED'): Promise<void> {
    await this.call('mlflowUpdateRun', { run_id: runId, status, end_time: Date.now() });
  }

  async restartRun(runId: string): Promise<void> {
    await this.call('mlflowUpdateRun', { run_id: runId, status: 'RUNNING' });
  }
}

/** Missing things have several codes in MLflow. */
function isMissing(error: unknown): boolean {
  if (!(error instanceof RegistryError)) return false;
  if (error.registryCode === 'RESOURCE_DOES_NOT_EXIST') return true;
  return error.registryCode === 'INVALID_PARAMETER_VALUE' && /alias .* not found/.test(error.message);
}
