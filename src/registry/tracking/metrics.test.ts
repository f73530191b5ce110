import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { metricPoints } from '../../testing/metric-points.ts';
import type { RegistryDatabase } from '../database/database.ts';
import { openSqlite } from '../database/sqlite.ts';
import { insertMetricsOfRuns, type Metric, metricJson } from './metrics.ts';

const scratch = mkdtempSync(join(tmpdir(), 'metrics-'));
let database: RegistryDatabase;
before(async () => {
  database = await openSqlite(join(scratch, 'metrics.db'));
});
after(async () => {
  await database.close();
  rmSync(scratch, { recursive: true, force: true });
});

const point = metricPoints('acc', 'loss', 'f1', 'auc', 'lr', 'gpu');

const text = (run: number, { key, value, isNan, timestamp, step }: Metric): string =>
  [run, key, timestamp, step, value, isNan].join(' ');

const isAfter = (a: Metric, b: Metric): boolean =>
  a.step !== b.step ? a.step > b.step : a.timestamp !== b.timestamp ? a.timestamp > b.timestamp : a.value > b.value;

test('however points are put together, all are kept once and the latest of each name is known', async () => {
  let firstKey = 0;
  /** Writes one after another, each with points of some runs. */
  const writes = fc.array(fc.array(fc.array(point, { maxLength: 14 }), { minLength: 1, maxLength: 4 }), {
    minLength: 1,
    maxLength: 3,
  });
  await fc.assert(
    fc.asyncProperty(writes, async (given) => {
      firstKey += 10;
      const run = (i: number): number => firstKey + i;
      const history = new Set<string>();
      const latest = new Map<string, string>();
      const points = new Map<string, Metric>();
      for (const runs of given) {
        const batch = runs.map((metrics, i) => ({ run: { run_key: run(i), experiment_id: 0 }, metrics }));
        await database.write((db) => insertMetricsOfRuns(db, batch));
        for (const { run, metrics } of batch) {
          for (const metric of metrics) {
            history.add(text(run.run_key, metric));
            const name = `${run.run_key} ${metric.key}`;
            const known = points.get(name);
            if (known !== undefined && !isAfter(metric, known)) continue;
            points.set(name, metric);
            latest.set(name, `${text(run.run_key, metric)} ${metricJson(metric)}`);
          }
        }
      }
      const stored = await database.read(async (db) => ({
        history: await db.selectFrom('metrics').selectAll().where('run_key', '>=', firstKey).execute(),
        latest: await db.selectFrom('latest_metrics').selectAll().where('run_key', '>=', firstKey).execute(),
      }));
      const asPoint = (row: Omit<Metric, 'isNan'> & { is_nan: number; run_key: number }): string =>
        text(row.run_key, { ...row, isNan: row.is_nan as 0 | 1 });
      assert.deepEqual(stored.history.map(asPoint).sort(), [...history].sort());
      assert.deepEqual(stored.latest.map((row) => `${asPoint(row)} ${row.json}`).sort(), [...latest.values()].sort());
    }),
    { numRuns: 60 },
  );
});
