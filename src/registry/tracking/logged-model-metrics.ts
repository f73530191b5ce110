import type { Db } from '../database/database.ts';
import { BulkInsert } from '../database/statements.ts';
import { groupBy } from '../group-by.ts';
import { loggedModelById } from './logged-model-store.ts';
import { type SentMetric, toMetric } from './metrics.ts';
import type { RunRef } from './run-ref.ts';

const INSERT = new BulkInsert(
  'logged_model_metrics',
  ['model_key', 'key', 'timestamp', 'step', 'run_id', 'value', 'is_nan', 'dataset_name', 'dataset_digest'],
  'ON CONFLICT DO NOTHING',
);

/** Notes with each logged model the metrics of a run that name it. Throws RESOURCE_DOES_NOT_EXIST for unknown models. */
export async function insertModelMetrics(db: Db, ref: RunRef, sent: readonly SentMetric[]): Promise<void> {
  if (!sent.some(({ model_id }) => model_id)) return;
  const byModel = groupBy(
    sent.filter(({ model_id }) => model_id),
    ({ model_id }) => model_id as string,
  );
  for (const [id, metrics] of byModel) {
    const { model_key } = await loggedModelById(db, id);
    await INSERT.run(
      db,
      metrics.map((metric) => {
        const { key, timestamp, step, value, isNan } = toMetric(metric);
        const dataset = [metric.dataset_name ?? '', metric.dataset_digest ?? ''];
        return [model_key, key, timestamp, step, ref.run_id, value, isNan, ...dataset];
      }),
    );
  }
}
