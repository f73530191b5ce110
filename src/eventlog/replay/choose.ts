import type { FilesSinkConfig, SinkConfig } from '../../config/event-log-schema.ts';
import { SwitchyardError } from '../../shared/errors.ts';
import { FolderFiles } from './folder-files.ts';
import type { KeptFiles } from './kept-files.ts';

/** A sink whose files hold all of a record. */
export type Readable = FilesSinkConfig & { format: 'jsonl' | 'parquet' };

/**
 * The sink whose files are read for a replay to `target`: the one that is asked for, or the one that is best read: not the
 * target itself, a folder before a bucket, lines before Parquet. Undefined: there is none.
 * Throws not_found, and failed_precondition for one that does not keep records whole.
 */
export function chooseSource(
  sinks: readonly SinkConfig[],
  target: string,
  asked: string | undefined,
): Readable | undefined {
  const readable = sinks.filter(isReadable);
  if (asked === undefined) {
    const burden = ({ name, s3, format }: Readable): number =>
      (name === target ? 4 : 0) + (s3 === undefined ? 0 : 2) + (format === 'jsonl' ? 0 : 1);
    return readable.toSorted((a, b) => burden(a) - burden(b))[0];
  }
  const found = readable.find(({ name }) => name === asked);
  if (found !== undefined) return found;
  const there = readable.map(({ name }) => name).join(', ') || 'none';
  const other = sinks.find(({ name }) => name === asked);
  if (other === undefined)
    throw new SwitchyardError(
      'not_found',
      `source: there is no sink ${JSON.stringify(asked.slice(0, 100))}; those that can be read are ${there}`,
    );
  const why =
    other.kind === 'files'
      ? 'writes the format sagemaker, which has neither route and version nor the reasons of a decision, so that no record can be made of it'
      : `is of kind ${other.kind}, which is only written to`;
  throw new SwitchyardError(
    'failed_precondition',
    `source: the sink ${JSON.stringify(asked)} ${why}; name one of kind files with format jsonl or parquet (there are ${there}), or leave it out`,
  );
}

/** @param folder where the sink's files are if it has no bucket */
export async function keptBy(sink: Readable, folder: string): Promise<KeptFiles> {
  if (sink.s3 === undefined) return new FolderFiles(folder, sink.format);
  const { BucketFiles } = await import('./bucket-files.ts');
  return new BucketFiles(sink.s3, sink.format);
}

function isReadable(sink: SinkConfig): sink is Readable {
  return sink.kind === 'files' && sink.format !== 'sagemaker';
}
