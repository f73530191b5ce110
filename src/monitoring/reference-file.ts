import { SwitchyardError } from '../shared/errors.ts';
import { filesAndHttp, gather } from '../training/tables/reader.ts';
import { freeze } from './counters.ts';
import type { MonitorSpec } from './document.ts';
import { isWatched, renamed } from './features.ts';
import type { Reference } from './types.ts';

/**
 * A reference from a file: each of its rows is a row of the reference. Columns get the names that the log has by the rules
 * of `reference.columns`; those that are named otherwise are left out. Rejects with what is wrong with the file.
 */
export async function referenceFromFile(monitor: string, spec: MonitorSpec, file: string): Promise<Reference> {
  const format = /\.jsonl(\.gz)?$/.test(file) ? 'jsonl' : 'csv';
  const table = await gather(filesAndHttp, [{ location: file, format, missing: ['', 'NaN'] }]);
  const columns = table.columns
    .map((column) => ({ ...column, name: renamed(column.name, spec.reference.columns) }))
    .filter(({ name }) => /^(inputs|outputs)\./.test(name) && isWatched(spec.columns, name));
  if (columns.length === 0)
    throw new SwitchyardError(
      'failed_precondition',
      `${file} has no column that is watched; it has ${table.columns
        .map(({ name }) => name)
        .slice(0, 20)
        .join(', ')}. Say in reference.columns which they are, such as {"p*": "inputs.image[*]"}`,
    );
  if (table.rows < spec.minRows)
    throw new SwitchyardError('failed_precondition', `${file} has ${table.rows} rows, and minRows is ${spec.minRows}`);
  const rows = Array.from({ length: table.rows }, (_, row) => ({
    values: columns.map(({ values }) => values[row]),
    slices: [],
  }));
  const { ks, wasserstein } = spec.statistics;
  return {
    monitor,
    version: '',
    digest: '',
    frozenAt: Date.now(),
    source: file,
    ...freeze(
      columns.map(({ name }) => name),
      rows,
      ks !== undefined || wasserstein !== undefined,
    ),
  };
}
