import type { ValidationReference } from '../../config/model-validation.ts';
import type { Profile } from '../../datasets/profile.ts';
import { escapeLabel } from '../../telemetry/prometheus.ts';
import type { LiveStatistics } from './door-statistics.ts';
import { type LiveColumn, liveSkew, mergeLive, newLiveColumn } from './sketch.ts';

export interface FieldSkew {
  field: string;
  /** Of the dataset. */
  column: string;
  /** 'insufficient': too few values to say; 'absent': the dataset has no such column, or nothing comparable in it. */
  state: 'ok' | 'skewed' | 'insufficient' | 'absent';
  /** Values that were counted, and those that were missing; shares of missing values there and here. */
  values: number;
  missing: number;
  training_missing: number | undefined;
  linf: number | undefined;
  js: number | undefined;
  limits: { linf?: number | undefined; js?: number | undefined };
}

export interface SkewReport {
  model: string;
  version: string;
  dataset: string;
  dataset_version: number | undefined;
  /** Milliseconds since 1970: since when requests are counted in it. */
  from: number;
  rows: number;
  /** Why there is no comparison; '': there is one. */
  problem: string;
  fields: FieldSkew[];
}

export interface LiveSkewParts {
  /** Statistics of a dataset's version. Rejects when there is none. */
  profile(dataset: string, version: number | undefined): Promise<Profile>;
  now(): number;
}

interface Pane {
  from: number;
  rows: number;
  columns: Record<string, LiveColumn>;
}

interface Followed {
  latest: Pick<LiveStatistics, 'model' | 'version' | 'reference' | 'limits'>;
  panes: Pane[];
}

/** A window is made of so many panes. */
const PANES = 6;
/** With fewer values a distance says little. */
const MIN_VALUES = 100;
/** Versions that are followed at a time; those that were asked least recently go. */
const MAX_FOLLOWED = 1000;

/** Adds up what all gateway threads count, and holds it against training data. */
export class LiveSkew {
  private readonly parts: LiveSkewParts;
  private readonly followed = new Map<string, Followed>();
  private reports: readonly SkewReport[] = [];

  constructor(parts: LiveSkewParts) {
    this.parts = parts;
  }

  add(statistics: readonly LiveStatistics[]): void {
    for (const each of statistics) this.addOne(each);
  }

  private addOne({ rows, columns, ...latest }: LiveStatistics): void {
    const key = `${latest.model}\0${latest.version}`;
    let followed = this.followed.get(key);
    if (followed === undefined || JSON.stringify(followed.latest) !== JSON.stringify(latest))
      followed = { latest, panes: [] };
    this.followed.delete(key);
    this.followed.set(key, followed);
    if (this.followed.size > MAX_FOLLOWED) this.followed.delete([...this.followed.keys()][0]);
    const now = this.parts.now();
    this.drop(followed, now);
    let pane = followed.panes.at(-1);
    if (pane === undefined || now - pane.from >= latest.reference.window / PANES) {
      pane = { from: now, rows: 0, columns: {} };
      followed.panes.push(pane);
    }
    pane.rows += rows;
    for (const [field, column] of Object.entries(columns)) {
      pane.columns[field] ??= newLiveColumn();
      mergeLive(pane.columns[field], column);
    }
  }

  private drop(followed: Followed, now: number): void {
    followed.panes = followed.panes.filter(({ from }) => now - from < followed.latest.reference.window);
  }

  /** @param model undefined: all of them. Never rejects for a dataset that cannot be read: the report says so. */
  async report(model: string | undefined): Promise<SkewReport[]> {
    const chosen = [...this.followed.values()].filter(({ latest }) => model === undefined || latest.model === model);
    const reports = await Promise.all(chosen.map((followed) => this.reportOf(followed)));
    return reports.sort((a, b) =>
      a.model < b.model ? -1 : a.model > b.model ? 1 : Number(a.version) - Number(b.version),
    );
  }

  private async reportOf(followed: Followed): Promise<SkewReport> {
    const { model, version, reference, limits } = followed.latest;
    this.drop(followed, this.parts.now());
    const { panes } = followed;
    const report: SkewReport = {
      model,
      version,
      dataset: reference.dataset,
      dataset_version: reference.version,
      from: panes[0]?.from ?? this.parts.now(),
      rows: panes.reduce((sum, { rows }) => sum + rows, 0),
      problem: '',
      fields: [],
    };
    let profile: Profile;
    try {
      profile = await this.parts.profile(reference.dataset, reference.version);
    } catch (error) {
      return { ...report, problem: (error as Error).message };
    }
    const columns = sumOf(panes);
    report.fields = Object.entries(columns).map(([field, live]) =>
      compare(profile, reference, field, live, limits[field] ?? {}),
    );
    return report;
  }

  /** Compares anew, for the metrics. */
  async refresh(): Promise<void> {
    this.reports = await this.report(undefined);
  }

  /** Prometheus text, as of the last refresh. */
  render(): string {
    const name = 'switchyard_validation_skew';
    const lines = [
      `# HELP ${name} Distance of what is asked to the training data, by measure`,
      `# TYPE ${name} gauge`,
      `# HELP ${name}_exceeded Fields that are further from the training data than their limit: 1, otherwise 0`,
      `# TYPE ${name}_exceeded gauge`,
    ];
    for (const { model, version, fields } of this.reports)
      for (const { field, state, linf, js } of fields) {
        const labels = `model="${escapeLabel(model)}",version="${escapeLabel(version)}",field="${escapeLabel(field)}"`;
        if (state !== 'ok' && state !== 'skewed') continue;
        lines.push(`${name}{${labels},measure="linf"} ${linf}`, `${name}{${labels},measure="js"} ${js}`);
        lines.push(`${name}_exceeded{${labels}} ${state === 'skewed' ? 1 : 0}`);
      }
    return `${lines.join('\n')}\n`;
  }
}

function sumOf(panes: readonly Pane[]): Record<string, LiveColumn> {
  const sum: Record<string, LiveColumn> = {};
  for (const { columns } of panes)
    for (const [field, column] of Object.entries(columns)) {
      sum[field] ??= newLiveColumn();
      mergeLive(sum[field], column);
    }
  return sum;
}

function compare(
  profile: Profile,
  reference: ValidationReference,
  field: string,
  live: LiveColumn,
  limits: FieldSkew['limits'],
): FieldSkew {
  const column = reference.columns[field] ?? field;
  const training = profile.columns.find(({ name }) => name === column);
  const skew = training === undefined ? undefined : liveSkew(training, live);
  const seen = live.count + live.missing;
  const shown = {
    field,
    column,
    values: seen,
    missing: seen === 0 ? 0 : live.missing / seen,
    training_missing:
      training === undefined ? undefined : training.nulls / Math.max(1, training.count + training.nulls),
    linf: skew?.linf,
    js: skew?.js,
    limits,
  };
  if (training === undefined || (skew === undefined && live.count > 0)) return { ...shown, state: 'absent' };
  if (skew === undefined || live.count < MIN_VALUES) return { ...shown, state: 'insufficient' };
  const beyond = (['linf', 'js'] as const).some(
    (measure) => skew[measure] > (limits[measure] ?? Number.POSITIVE_INFINITY),
  );
  return { ...shown, state: beyond ? 'skewed' : 'ok' };
}
