import type { FeatureJoin } from '../../config/feature-join.ts';
import type { FeatureStep, JoinedInputs } from '../../pipeline/feature-step.ts';
import type { InferRequest, RequestContext, ServingVersion } from '../../pipeline/types.ts';
import { monotonicMs } from '../../shared/clock.ts';
import { invalidArgument, SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { Tensor } from '../../tensor/tensor.ts';
import type { FeatureSet } from '../documents/catalog.ts';
import { type EntityColumns, type FieldStatus, readRows, statusOf, type ViewRows } from '../online/read.ts';
import type { OnlineStore } from '../store/online-store.ts';
import { InputMatrix, readKeys } from './elements.ts';
import { type JoinPlan, type PlannedInput, planJoin, type Transforms } from './plan.ts';
import { TransformInput } from './transform-input.ts';

/** What was joined, for metrics. */
export interface JoinCounts {
  /** By what each value was. */
  values: Record<FieldStatus, number>;
  /** Requests that got their features; that got defaults because the store failed; that were refused for it. */
  joined: number;
  defaulted: number;
  failed: number;
}

export function newJoinCounts(): JoinCounts {
  return {
    values: { PRESENT: 0, NULL_VALUE: 0, NOT_FOUND: 0, OUTSIDE_MAX_AGE: 0 },
    joined: 0,
    defaulted: 0,
    failed: 0,
  };
}

export function sumJoins(parts: readonly JoinCounts[]): JoinCounts {
  const sum = newJoinCounts();
  for (const { values, joined, defaulted, failed } of parts) {
    for (const status of Object.keys(values) as FieldStatus[]) sum.values[status] += values[status];
    sum.joined += joined;
    sum.defaulted += defaulted;
    sum.failed += failed;
  }
  return sum;
}

/** Plans kept at a time; models come and go. */
const MAX_PLANS = 4096;

/** Adds features to requests of models that ask for them: all rows of a request in one round trip to the store. */
export class FeatureJoiner implements FeatureStep {
  readonly counts = newJoinCounts();
  private readonly store: OnlineStore;
  private readonly set: () => FeatureSet;
  private readonly transforms: () => Transforms;
  private readonly plans = new Map<number, { of: FeatureSet; plan: JoinPlan }>();

  constructor(store: OnlineStore, set: () => FeatureSet, transforms: () => Transforms = () => new Map()) {
    this.store = store;
    this.set = set;
    this.transforms = transforms;
  }

  join(version: ServingVersion, request: InferRequest, context: RequestContext): JoinedInputs | Promise<JoinedInputs> {
    const plan = this.planOf(version);
    const wanted = plan.inputs.filter(({ spec }) => !request.inputs.some((tensor) => tensor.name === spec.name));
    const { entities, rows } =
      wanted.length === 0 ? { entities: new Map<string, unknown[]>(), rows: 0 } : readEntities(plan, request);
    const finish = (views: ViewRows[] | undefined): JoinedInputs => {
      const added = this.assemble(plan, wanted, rows, views);
      return { added, inputs: [...request.inputs.filter((tensor) => !plan.dropped.has(tensor.name)), ...added] };
    };
    if (wanted.length === 0) return finish([]);
    try {
      const read = readRows(this.store, context.tenant, plan.selections, entities, rows);
      if (read instanceof Promise)
        return this.inTime(read, plan.join, context).then(finish, (error: unknown) =>
          this.without(error, plan.join, finish),
        );
      return finish(read);
    } catch (error) {
      return this.without(error, plan.join, finish);
    }
  }

  private planOf(version: ServingVersion): JoinPlan {
    const set = this.set();
    const known = this.plans.get(version.handle);
    if (known?.of === set) return known.plan;
    const plan = planJoin(version.config, version.config.features as FeatureJoin, set, this.transforms());
    if (this.plans.size >= MAX_PLANS) this.plans.clear();
    this.plans.set(version.handle, { of: set, plan });
    return plan;
  }

  /** The store's answer, or deadline_exceeded. A late answer is dropped. */
  private inTime(read: Promise<ViewRows[]>, join: FeatureJoin, context: RequestContext): Promise<ViewRows[]> {
    const left = Math.min(join.timeoutMs, context.deadline - monotonicMs());
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => {
          reject(
            new SwitchyardError('deadline_exceeded', `the feature store did not answer within ${left.toFixed(0)} ms`),
          );
        },
        Math.max(0, left),
      );
      const settled = (): void => clearTimeout(timer);
      read.then(resolve, reject).then(settled, settled);
    });
  }

  /** The store cannot be asked: defaults, if the model says so. What is wrong with the request stays an error. */
  private without(thrown: unknown, join: FeatureJoin, finish: (views: undefined) => JoinedInputs): JoinedInputs {
    const error = toSwitchyardError(thrown);
    const isStore = error.code === 'unavailable' || error.code === 'deadline_exceeded';
    if (isStore && join.failure === 'default') return finish(undefined);
    if (isStore) this.counts.failed++;
    throw error;
  }

  /** @param views undefined: the store failed, everything is a default */
  private assemble(
    plan: JoinPlan,
    wanted: readonly PlannedInput[],
    rows: number,
    views: readonly ViewRows[] | undefined,
  ): Tensor[] {
    const now = Date.now();
    const matrices = plan.inputs.map((input) =>
      wanted.includes(input)
        ? new InputMatrix(input.spec.name, input.spec.datatype, shapeOf(plan, input, rows), rows, input.width)
        : undefined,
    );
    const transformed = plan.inputs.map((input, i) => {
      const matrix = matrices[i];
      return matrix === undefined || input.transform === undefined
        ? undefined
        : new TransformInput(matrix, input.transform, rows, input.spec.name);
    });
    for (const [i, { view, fields }] of plan.selections.entries()) {
      const part = views?.[i];
      for (let j = 0; j < fields.length; j++) {
        for (let row = 0; row < rows; row++) {
          const found = part?.found[part.rows[row]];
          const value = found?.values[j];
          const status = part === undefined ? 'PRESENT' : statusOf(view, found, value, now);
          if (part !== undefined) this.counts.values[status]++;
          if (status !== 'PRESENT' && plan.join.missing === 'reject')
            throw new SwitchyardError(
              'failed_precondition',
              `feature ${view.name}:${view.names[fields[j]]} of row ${row} is ${status}, and the model takes no default for it`,
            );
          const known = status === 'PRESENT' && views !== undefined && value !== undefined && value !== null;
          for (const { feature, input, column, fallback } of plan.targets[i][j]) {
            const transform = transformed[input];
            if (transform !== undefined) transform.set(row, column, known ? value : null);
            else matrices[input]?.set(row, column, known ? value : fallback, feature);
          }
        }
      }
    }
    if (rows > 0) {
      if (views === undefined) this.counts.defaulted++;
      else this.counts.joined++;
    }
    for (const each of transformed) each?.finish();
    return matrices.flatMap((matrix) => (matrix === undefined ? [] : [matrix.tensor()]));
  }
}

function readEntities(plan: JoinPlan, request: InferRequest): { entities: EntityColumns; rows: number } {
  const entities = new Map<string, unknown[]>();
  let rows = -1;
  for (const [key, input] of plan.entities) {
    const tensor = request.inputs.find(({ name }) => name === input);
    if (tensor === undefined)
      throw invalidArgument(`input '${input}' is missing: it names the ${key} whose features the model gets`);
    const keys = readKeys(tensor);
    if (rows >= 0 && keys.length !== rows)
      throw invalidArgument(`input '${input}' names ${keys.length} rows where the other keys name ${rows}`);
    rows = keys.length;
    entities.set(key, keys);
  }
  return { entities, rows };
}

function shapeOf({ batched }: JoinPlan, { spec, width }: PlannedInput, rows: number): number[] {
  if (spec.dims.length + (batched ? 1 : 0) === 2) return [rows, width];
  return [rows * width];
}
