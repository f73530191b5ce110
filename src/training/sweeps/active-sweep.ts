import type { Report, Trial } from './algorithms/history.ts';
import type { Params } from './algorithms/space.ts';
import { type Contender, type Strategy, strategyOf } from './algorithms/strategy.ts';
import { dimensionOf, type SweepDocument, type SweepSpec } from './spec.ts';
import type { SweepRow, TrialRow } from './store.ts';
import type { TrialStatus } from './sweeps.ts';

const OPEN: readonly string[] = ['pending', 'running', 'stopping'] satisfies TrialStatus[];

export function isOpen({ status }: TrialRow): boolean {
  return OPEN.includes(status);
}

export interface End {
  outcome: 'succeeded' | 'failed' | 'cancelled';
  reason: string;
}

/** A sweep that is not over, as it stands in this process: its rows, what its trials reported, and its rules. */
export class ActiveSweep {
  readonly document: SweepDocument;
  readonly spec: SweepSpec;
  readonly strategy: Strategy;
  row: SweepRow;
  trials: TrialRow[];
  /** By trial; only those that were read. */
  readonly reports = new Map<number, readonly Report[]>();
  private exhausted = false;

  constructor(row: SweepRow, trials: TrialRow[]) {
    this.row = row;
    this.trials = trials;
    this.document = JSON.parse(row.document) as SweepDocument;
    this.spec = this.document.spec;
    this.strategy = strategyOf(this.spec, this.spec.parameters.map(dimensionOf), row.seed);
  }

  get id(): string {
    return this.row.sweep_id;
  }

  open(): TrialRow[] {
    return this.trials.filter(isOpen);
  }

  /** Why nothing more is to be begun; undefined: it goes on. */
  end(): End | undefined {
    const { objective, maxFailedTrialCount, maxTrialCount } = this.spec;
    const reached = this.trials.find((trial) => trial.status === 'complete' && this.reachesGoal(trial.value));
    if (reached !== undefined)
      return { outcome: 'succeeded', reason: `trial ${reached.number} reached the goal ${objective.goal}` };
    const failed = this.trials.filter(({ status }) => status === 'failed');
    if (failed.length > maxFailedTrialCount)
      return {
        outcome: 'failed',
        reason: `${failed.length} trials failed; the last: ${failed[failed.length - 1].reason}`,
      };
    if (this.open().length > 0 || (this.trials.length < maxTrialCount && !this.exhausted)) return undefined;
    if (this.trials.some(({ status }) => status === 'complete'))
      return {
        outcome: 'succeeded',
        reason: this.exhausted ? 'every point of the grid was tried' : 'all trials were made',
      };
    return { outcome: 'failed', reason: 'no trial was completed' };
  }

  private reachesGoal(value: number | null): boolean {
    const { goal, type } = this.spec.objective;
    if (goal === undefined || value === null) return false;
    return type === 'minimize' ? value <= goal : value >= goal;
  }

  /** The next trial, if there is room for one. */
  next(now: number): TrialRow | undefined {
    const { maxTrialCount, parallelTrialCount } = this.spec;
    const number = this.trials.length;
    if (this.exhausted || number >= maxTrialCount || this.open().length >= parallelTrialCount) return undefined;
    const bracket = this.strategy.bracketOf(number);
    const known = this.trials.filter((trial) => trial.bracket === bracket).flatMap((trial) => this.history(trial));
    const params = this.strategy.suggest(number, known);
    if (params === undefined) {
      this.exhausted = true;
      return undefined;
    }
    return {
      sweep_id: this.id,
      number,
      params: JSON.stringify(params),
      bracket,
      status: 'pending',
      reason: '',
      job_id: null,
      run_id: null,
      value: null,
      last_step: 0,
      rungs: '[]',
      created_at: now,
      ended_at: null,
    };
  }

  /** What a trial teaches: nothing, when it failed or was cancelled. */
  private history({ number, params, status, value, last_step }: TrialRow): Trial[] {
    if (status === 'failed' || status === 'cancelled') return [];
    const state = status === 'complete' || status === 'stopped' ? status : 'running';
    const seen = value === null ? (state === 'complete' ? Number.NaN : undefined) : this.turned(value);
    return [{ number, params: JSON.parse(params) as Params, state, value: seen, lastStep: last_step }];
  }

  /** Whether a running trial is to stop, and the values at its rungs. */
  judge(trial: TrialRow): { rungs: string; stop: string } {
    const others = this.trials.filter((other) => other !== trial).map((other) => this.contender(other));
    const { rungs, stop } = this.strategy.judge(this.contender(trial), others);
    return { rungs: JSON.stringify(rungs), stop };
  }

  private contender({ number, bracket, status, rungs }: TrialRow): Contender {
    const state = status === 'complete' || status === 'stopped' ? status : 'running';
    const seen = this.reports.get(number) ?? [];
    return {
      bracket,
      state,
      rungs: (JSON.parse(rungs) as (number | null)[]).map((value) => value ?? Number.NaN),
      reports: seen,
    };
  }

  /** The reports of a trial as the algorithms compare them. */
  keepReports(number: number, points: readonly Report[]): void {
    this.reports.set(
      number,
      points.map(({ step, value }) => ({ step, value: this.turned(value) })),
    );
  }

  private turned(value: number): number {
    return this.spec.objective.type === 'minimize' ? value : -value;
  }

  /** The value that counts of a trial; undefined: it reported none. May be NaN. */
  result(points: readonly Report[]): number | undefined {
    const { strategy, type } = this.spec.objective;
    if (strategy === 'latest') return points.at(-1)?.value;
    const values = points.map(({ value }) => value).filter((value) => !Number.isNaN(value));
    if (values.length === 0) return points.at(-1)?.value;
    return values.reduce((a, b) => (type === 'minimize' ? Math.min(a, b) : Math.max(a, b)));
  }

  /** The best complete value so far. */
  best(): number | undefined {
    const values = this.trials.flatMap(({ status, value }) => (status === 'complete' && value !== null ? [value] : []));
    if (values.length === 0) return undefined;
    return values.reduce((a, b) => (this.spec.objective.type === 'minimize' ? Math.min(a, b) : Math.max(a, b)));
  }
}
