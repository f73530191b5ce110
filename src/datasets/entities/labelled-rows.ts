import { basename } from 'node:path';
import { decode } from '../formats/formats.ts';
import type { DatasetVersion } from './dataset.ts';
import type { Datasets } from './datasets.ts';

/** The rows that a retraining learns from, as the monitor wrote them down. */
export interface LabelledRows {
  /** Of the dataset. */
  name: string;
  /** CSV with a head: id, time, version, entity, the inputs, label. */
  file: string;
  monitor: string;
  retraining: string;
  model: string;
  /** Of the file. */
  sha256: string;
  /** Ids of the first and the last request. */
  firstId: string;
  lastId: string;
  /** Their times, milliseconds since 1970. */
  from: number;
  to: number;
}

/** Texts that may look like numbers. */
const TYPES = { id: 'string', version: 'string', entity: 'string' } as const;

/** Makes them a version of a dataset; the same rows again are the version that exists. Rejects with what `create` says. */
export async function keepLabelledRows(
  datasets: Datasets,
  { name, file, ...origin }: LabelledRows,
): Promise<DatasetVersion> {
  const source = await decode('csv', { name: basename(file), file }, { types: TYPES });
  const facts = {
    name,
    kind: 'tabular' as const,
    origin: { kind: 'monitor', ...origin },
    parents: [],
    runId: '',
    tags: {},
  };
  return datasets.create(facts, source, { actor: `monitor ${origin.monitor}` });
}
