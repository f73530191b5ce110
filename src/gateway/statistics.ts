import type { ModelStatistics, ServingTable } from '../pipeline/types.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { type MetricsReader, type RowName, sumRows } from '../telemetry/metrics-reader.ts';

/** Triton's statistics of the ready versions; '' = all models, all versions. Throws not_found. */
export function statisticsOf(
  reader: MetricsReader,
  table: ServingTable,
  model: string,
  version: string,
): ModelStatistics[] {
  const models = model === '' ? [...table.models.values()] : [table.models.get(model)];
  const rows: RowName[] = [];
  for (const entry of models) {
    for (const ready of entry?.versions ?? []) {
      if (version !== '' && ready.version !== version) continue;
      rows.push({ row: ready.metricsRow, model: ready.model, version: ready.version });
    }
  }
  if (model !== '' && rows.length === 0) {
    const what = version === '' ? `'${model}'` : `'${model}' version ${version}`;
    throw new SwitchyardError(
      'not_found',
      `requested model ${what} is not found or not ready, so it has no statistics`,
    );
  }
  return sumRows(reader, rows);
}
