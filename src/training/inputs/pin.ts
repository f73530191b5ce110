import type { Digest } from '../../registry/blobs/digest.ts';
import type { RunData } from '../../registry/tracking/job-runs.ts';
import { invalidArgument, SwitchyardError, toSwitchyardError } from '../../shared/errors.ts';
import type { JobSpec } from '../jobs/spec.ts';
import { asOfTime, type DataFile, type DataFormat, type DataSources, datasetOf } from './data-source.ts';

type Input = JobSpec['inputs'][number];

/** A dataset or the features of a view that a job reads, as its run notes it. */
export interface DataNote {
  /** Of the input. */
  name: string;
  /** Its name inside the input's folder. */
  file: string;
  digest: Digest;
  size: number;
  /** As MLflow's log-inputs has it. */
  dataset: { name: string; digest: string; source_type: string; source: string; profile: string };
}

export interface PinnedInputs {
  /** What is read is decided: every input from data has its digest, and names a version and a time. */
  inputs: Input[];
  notes: DataNote[];
}

export interface PinParts {
  sources: DataSources;
  /** Bytes of a blob; undefined: there is none. */
  sizeOf(digest: Digest): Promise<number | undefined>;
  now(): number;
}

/** Rows as a file, or of a feature view. */
export function isData({ source, featureView }: Pick<Input, 'source' | 'featureView'>): boolean {
  return featureView !== undefined || datasetOf(source) !== undefined;
}

/** Name of a data input's file inside its folder. */
export function dataFileName({ format }: Pick<Input, 'format'>): string {
  return `data.${format ?? 'parquet'}`;
}

/** As MLflow keeps a digest: in 36 characters at most. */
const short = (digest: string): string => digest.slice('sha256:'.length, 'sha256:'.length + 32);

const inSpec = (i: number): string => `spec.inputs.${i}`;

/**
 * Decides which bytes a job's inputs from datasets and feature views are, now and for all its attempts. What was decided
 * before stays. Rejects naming the input, its value and what there is.
 */
export async function pinInputs(
  inputs: readonly Input[],
  actor: string,
  parts: PinParts,
  /** Where the input with this number stands. */
  where: (i: number) => string = inSpec,
): Promise<PinnedInputs> {
  const pinned: PinnedInputs = { inputs: [], notes: [] };
  for (const [i, input] of inputs.entries()) {
    if (!isData(input)) {
      pinned.inputs.push(input);
      continue;
    }
    const found = await placed(where(i), input, () => pinOne(input, actor, parts));
    pinned.inputs.push(found.input);
    pinned.notes.push(found.note);
  }
  return pinned;
}

/** As pinInputs, but only whether it could be done: no file is made. */
export async function checkInputs(
  inputs: readonly Input[],
  actor: string,
  { sources, now }: Pick<PinParts, 'sources' | 'now'>,
): Promise<void> {
  for (const [i, input] of inputs.entries()) {
    const dataset = datasetOf(input.source);
    await placed(inSpec(i), input, async () => {
      // Every version is there as Parquet.
      if (dataset !== undefined) await sources.dataset(dataset.name, dataset.version, 'parquet', actor);
      if (input.featureView === undefined) return;
      await sources.checkView(input.featureView);
      timeOf(input, now());
    });
  }
}

/** What is not there is a mistake of the document. */
async function placed<T>(where: string, input: Input, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { code, message, retryAfterMs } = toSwitchyardError(error);
    const field = input.featureView === undefined ? 'source' : 'featureView';
    const text = message.startsWith('asOf: ') ? `${where}.${message}` : `${where}.${field}: ${message}`;
    if (code === 'not_found') throw invalidArgument(text);
    throw new SwitchyardError(code, text, { cause: error, ...(retryAfterMs === undefined ? {} : { retryAfterMs }) });
  }
}

async function pinOne(input: Input, actor: string, parts: PinParts): Promise<{ input: Input; note: DataNote }> {
  const dataset = datasetOf(input.source);
  return dataset === undefined ? pinView(input, parts) : pinDataset(input, dataset, actor, parts);
}

async function pinDataset(
  input: Input,
  { name, version: wanted }: { name: string; version: number | undefined },
  actor: string,
  { sources }: PinParts,
): Promise<{ input: Input; note: DataNote }> {
  const file = await sources.dataset(name, wanted, formatOf(input), actor);
  const { version, datasetDigest } = file;
  if (input.digest !== undefined && input.digest !== file.digest)
    throw new SwitchyardError(
      'failed_precondition',
      `${name}@${version} is ${file.digest}, and ${input.digest} was asked for; leave digest out, or name the version that has it`,
    );
  const source = { dataset: name, version, digest: datasetDigest };
  return {
    input: { ...input, source: `datasets:/${name}@${version}`, digest: file.digest },
    note: noteOf(input, file, { name, digest: datasetDigest, source }),
  };
}

async function pinView(input: Input, parts: PinParts): Promise<{ input: Input; note: DataNote }> {
  const view = input.featureView as string;
  const { asOf, text } = timeOf(input, parts.now());
  const tenant = input.tenant ?? 'default';
  const file = await viewFile(input, view, asOf, tenant, parts);
  const source = { feature_view: view, as_of: text, tenant, digest: file.digest };
  return {
    input: { ...input, asOf: text, digest: file.digest },
    note: noteOf(input, file, { name: `${view}@${text}`, digest: file.digest, source }),
  };
}

/** Rows that come late belong to the past too: what was read of a view once is known by its digest from then on. */
async function viewFile(
  { digest, ...input }: Input,
  view: string,
  asOf: number,
  tenant: string,
  { sources, sizeOf }: PinParts,
): Promise<Omit<DataFile, 'rows'> & { rows?: number }> {
  if (digest === undefined) return sources.features(view, asOf, tenant, formatOf(input));
  const size = await sizeOf(digest as Digest);
  if (size !== undefined) return { digest, size };
  throw new SwitchyardError(
    'not_found',
    `the registry has no blob ${digest} any more; leave digest out, so that the view is read anew`,
  );
}

function timeOf({ asOf: given }: Input, now: number): { asOf: number; text: string } {
  const asOf = given === undefined || given === 'now' ? now : asOfTime(given);
  if (asOf > now)
    throw invalidArgument(
      `asOf: ${JSON.stringify(given)} lies ahead, and what will be known then nobody knows; give a time up to ${new Date(now).toISOString()}, or now`,
    );
  return { asOf, text: new Date(asOf).toISOString() };
}

function formatOf({ format }: Pick<Input, 'format'>): DataFormat {
  return format ?? 'parquet';
}

function noteOf(
  input: Input,
  { digest, size, rows }: Omit<DataFile, 'rows'> & { rows?: number },
  { name, digest: known, source }: { name: string; digest: string; source: object },
): DataNote {
  return {
    name: input.name,
    file: dataFileName(input),
    digest: digest as Digest,
    size,
    dataset: {
      name,
      digest: short(known),
      source_type: 'switchyard',
      source: JSON.stringify(source),
      profile: rows === undefined ? '' : JSON.stringify({ num_rows: rows }),
    },
  };
}

const MEDIA_TYPES: Readonly<Record<DataFormat, string>> = {
  parquet: 'application/vnd.apache.parquet',
  csv: 'text/csv',
  jsonl: 'application/x-ndjson',
};

/** As the run of the job keeps it. */
export function runData({ name, file, digest, size, dataset }: DataNote): RunData {
  const format = file.slice(file.lastIndexOf('.') + 1) as DataFormat;
  return { path: `inputs/${name}/${file}`, digest, size, mediaType: MEDIA_TYPES[format], dataset };
}
