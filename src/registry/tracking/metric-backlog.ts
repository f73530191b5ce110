import type { Db, RegistryDatabase } from '../database/database.ts';
import type { SharedWrite } from '../database/group-commit.ts';
import { BulkInsert, run } from '../database/statements.ts';
import { insertMetricsOfRuns, type Metric, type RunMetrics } from './metrics.ts';

/**
 * On SQLite, batches of metrics are first appended to one small table, which is on disk when they are answered, and moved
 * in bulk to where they are looked for. A batch of ten metrics would change some ten pages spread over the tables and
 * their indexes; appended, it is half a page, and what is moved together shares its pages. Whoever reads metrics asks
 * for them by `readMetrics`, which moves what is left over: nobody sees that there is a backlog. PostgreSQL writes its
 * pages later by itself, so there the points go to their tables at once.
 */

/** Batches that are moved by one write: some ten milliseconds. */
const MOVED_AT_ONCE = 256;
/** What comes in slowly is moved after so long. */
const IDLE_MS = 1000;

const APPEND = new BulkInsert('metric_backlog', ['run_key', 'experiment_id', 'points'], '');
const OLDEST = `SELECT batch_key, run_key, experiment_id, points FROM metric_backlog ORDER BY batch_key LIMIT ${MOVED_AT_ONCE}`;

type PointRow = readonly [key: string, value: number, isNan: 0 | 1, timestamp: number, step: number];

interface BacklogRow {
  batch_key: number;
  run_key: number;
  experiment_id: number;
  /** JSON: PointRow[] */
  points: string;
}

/** Takes points in the write that answers for them. */
export async function appendMetrics(db: Db, runs: readonly RunMetrics[]): Promise<void> {
  const rows = runs
    .filter(({ metrics }) => metrics.length > 0)
    .map(({ run: { run_key, experiment_id }, metrics }) => [run_key, experiment_id, pointsText(metrics)]);
  await APPEND.run(db, rows);
}

function pointsText(metrics: readonly Metric[]): string {
  const rows = metrics.map(({ key, value, isNan, timestamp, step }): PointRow => [key, value, isNan, timestamp, step]);
  return JSON.stringify(rows);
}

function pointsOf(text: string): Metric[] {
  const rows = JSON.parse(text) as PointRow[];
  return rows.map(([key, value, isNan, timestamp, step]) => ({ key, value, isNan, timestamp, step }));
}

/** Moves the oldest batches to the tables of metrics, in this write. @returns whether there may be more. */
async function moveSome(db: Db): Promise<boolean> {
  const batches = await run<BacklogRow>(db, OLDEST, []);
  if (batches.length === 0) return false;
  const runs = new Map<number, { run: RunMetrics['run']; metrics: Metric[] }>();
  for (const { run_key, experiment_id, points } of batches) {
    const known = runs.get(run_key);
    if (known === undefined) runs.set(run_key, { run: { run_key, experiment_id }, metrics: pointsOf(points) });
    else for (const point of pointsOf(points)) known.metrics.push(point);
  }
  await insertMetricsOfRuns(db, [...runs.values()]);
  await run(db, 'DELETE FROM metric_backlog WHERE batch_key <= $1', [batches[batches.length - 1].batch_key]);
  return batches.length === MOVED_AT_ONCE;
}

const MOVE: SharedWrite<Db, undefined, boolean> = {
  run: async (db, items) => {
    const more = await moveSome(db);
    return items.map(() => more);
  },
};

/** Moves all that was appended before, in this write: for writes that read metrics. */
export async function moveAll(db: Db): Promise<void> {
  while (await moveSome(db));
}

/** Reads of metrics: `fn` finds every point that was answered for before the call in its table. */
export async function readMetrics<T>(database: RegistryDatabase, fn: (db: Db) => Promise<T>): Promise<T> {
  if (database.kind === 'sqlite') {
    const newest = 'SELECT max(batch_key) AS newest FROM metric_backlog';
    const oldest = 'SELECT min(batch_key) AS oldest FROM metric_backlog';
    const [until] = await database.read((db) => run<{ newest: number | null }>(db, newest, []));
    // Others go on appending meanwhile: what came after the call is not waited for.
    while (until.newest !== null) {
      if (!(await database.writeShared(MOVE, undefined))) break;
      const [left] = await database.read((db) => run<{ oldest: number | null }>(db, oldest, []));
      if (left.oldest === null || left.oldest > until.newest) break;
    }
  }
  return database.read(fn);
}

/** Takes batches of metrics and moves them while it goes on. */
export class MetricBacklog {
  private readonly database: RegistryDatabase;
  private readonly onError: (error: unknown) => void;
  private appended = 0;
  private moving: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private closed = false;

  constructor(database: RegistryDatabase, onError: (error: unknown) => void) {
    this.database = database;
    this.onError = onError;
    // What an earlier process has left.
    if (database.kind === 'sqlite') this.moveLater();
  }

  /** In the write that answers for the points. No run may be there twice. */
  append(db: Db, runs: readonly RunMetrics[]): Promise<void> {
    return this.database.kind === 'sqlite' ? appendMetrics(db, runs) : insertMetricsOfRuns(db, runs);
  }

  /** Batches were appended and are committed. */
  committed(batches: number): void {
    if (this.database.kind !== 'sqlite') return;
    this.appended += batches;
    if (this.appended >= MOVED_AT_ONCE) this.move();
    else this.moveLater();
  }

  /** What is left stays for the next process. */
  async close(): Promise<void> {
    this.closed = true;
    clearTimeout(this.timer);
    await this.moving;
  }

  private moveLater(): void {
    this.timer ??= setTimeout(() => this.move(), IDLE_MS).unref();
  }

  private move(): void {
    if (this.closed || this.moving !== undefined) return;
    clearTimeout(this.timer);
    this.timer = undefined;
    this.moving = this.moveOn()
      .catch(this.onError)
      .finally(() => {
        this.moving = undefined;
      });
  }

  private async moveOn(): Promise<void> {
    do {
      this.appended = 0;
    } while ((await this.database.writeShared(MOVE, undefined)) && !this.closed);
  }
}
