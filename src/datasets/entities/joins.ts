import { invalidArgument } from '../../shared/errors.ts';
import { collect, fieldIndex, type Source, sourceOf } from '../batch.ts';
import type { DatasetJoin } from '../connectors/spec.ts';
import { joinBatches } from '../point-in-time.ts';
import type { Caller, DatasetRef } from './dataset.ts';
import type { Datasets } from './datasets.ts';

/**
 * Rows with the features of datasets that were known at their time, and which versions these are. Both sides are held in
 * memory. Throws not_found, permission_denied, or invalid_argument naming a column.
 */
export async function joinDatasets(
  datasets: Datasets,
  source: Source,
  joins: readonly DatasetJoin[],
  by: Caller,
): Promise<{ joined: Source; parents: DatasetRef[] }> {
  if (joins.length === 0) return { joined: source, parents: [] };
  const parents: DatasetRef[] = [];
  let rows = { schema: source.schema, batch: await collect(source) };
  for (const join of joins) {
    const features = await datasets.load(join.dataset, join.version, by);
    parents.push({ name: features.version.name, version: features.version.version });
    for (const [schema, column, what] of [
      [rows.schema, join.time, 'time'],
      [features.schema, join.featureTime, 'featureTime'],
    ] as const) {
      const { type } = schema.fields[fieldIndex(schema, column)];
      if (type !== 'timestamp' && type !== 'number' && type !== 'integer')
        throw invalidArgument(`${what}: column ${JSON.stringify(column)} is of type ${type}; a timestamp is wanted`);
    }
    rows = joinBatches(rows, features, {
      labels: { entity: Object.values(join.entity), time: join.time },
      features: { entity: Object.keys(join.entity), time: join.featureTime, created: join.created },
      ttlMs: join.ttlSeconds === undefined ? Number.POSITIVE_INFINITY : join.ttlSeconds * 1000,
      columns: join.columns,
      prefix: join.prefix,
    });
  }
  return { joined: sourceOf(rows.schema, rows.batch), parents };
}
