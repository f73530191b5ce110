import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ModelConfig } from '../config/model-config.ts';
import { invalidArgument, SwitchyardError } from '../shared/errors.ts';
import { isRemote } from './config/backends.ts';
import { readDocumentExtensions } from './config/document-extensions.ts';
import type { RawConfig } from './config/map.ts';
import { type NormaliseContext, normaliseConfig } from './config/normalise.ts';
import { asRawModel } from './config/raw-types.ts';
import { readModelConfig } from './config/read.ts';
import { MAX_CONFIG_BYTES } from './pbtxt/tree.ts';
import { digestOf } from './repository/digest.ts';
import { isSafeRelativePath } from './repository/names.ts';
import type { ScannedModel, ScannedVersion } from './repository/scan.ts';

/** Where a model comes from: its folder, and a load request's configuration in place of the folder's ('' = none). */
export interface ModelSource {
  scanned: ScannedModel;
  configJson: string;
}

export interface SourceOptions {
  gpus: number;
  defaultIsolation: 'thread' | 'process';
}

export interface ReadSource {
  /** Normalised; tensors may still be missing until a runtime completes it. */
  config: ModelConfig;
  configDigest: string;
  /** Ascending. Remote models and ensembles without version folders have version 1. */
  versions: ScannedVersion[];
}

const MAX_LABEL_BYTES = 16 * 1024 * 1024;

/** Reads and normalises a model's configuration with its labels. Throws an error with a readable reason. */
export async function readSource(source: ModelSource, options: SourceOptions): Promise<ReadSource> {
  const { scanned } = source;
  if (scanned.error !== '') throw invalidArgument(scanned.error);
  const raw = await readRaw(source);
  const labels = await readLabels(scanned, raw);
  const context: NormaliseContext = {
    name: scanned.name,
    files: [...new Set(scanned.versions.flatMap((version) => version.files.map((file) => file.path)))],
    labels,
    warmupFile: (name) => fileOf(scanned, `warmup/${name}`, 'model_warmup input_data_file'),
    gpus: options.gpus,
    defaultIsolation: options.defaultIsolation,
  };
  const normal = normalised(raw, context, scanned.versions);
  const config = { ...normal, ...readDocumentExtensions(normal.parameters) };
  const fileless = isRemote(config.backend) || config.backend === 'ensemble';
  let versions = scanned.versions;
  if (fileless) {
    const names = versions.length > 0 ? versions : [{ version: '1' }];
    versions = names.map(({ version }) => ({ version, directory: '', files: [] }));
  }
  if (versions.length === 0) throw invalidArgument(`has no version folder; add one, such as ${scanned.name}/1`);
  return { config, configDigest: digestOf([config.raw, labels, config.isolation]), versions };
}

/** Where no version is there, what keeps them away is the reason, not what a configuration without files lacks. */
function normalised(raw: RawConfig, context: NormaliseContext, versions: readonly ScannedVersion[]): ModelConfig {
  try {
    return normaliseConfig(raw, context);
  } catch (error) {
    if (versions.length === 0 || versions.some(({ problem }) => problem === undefined)) throw error;
    const [only, ...others] = versions;
    if (others.length === 0) throw new SwitchyardError('failed_precondition', only.problem as string);
    const reasons = versions.map(({ version, problem }) => `version ${version}: ${problem}`);
    throw new SwitchyardError('failed_precondition', reasons.join('; '));
  }
}

async function readRaw({ scanned, configJson }: ModelSource): Promise<RawConfig> {
  if (configJson !== '') return readModelConfig(configJson, `${scanned.name}/config.json`);
  if (scanned.configFile === '') return {};
  const shown = `${scanned.name}/${scanned.configFile}`;
  return readModelConfig((await readBounded(scanned, scanned.configFile, MAX_CONFIG_BYTES)).toString('utf8'), shown);
}

async function readLabels(scanned: ScannedModel, source: RawConfig): Promise<Record<string, string[]>> {
  const labels: Record<string, string[]> = Object.create(null);
  for (const output of asRawModel(source).output ?? []) {
    if (!output.label_filename || !output.name) continue;
    fileOf(scanned, output.label_filename, `output "${output.name}" label_filename`);
    const text = (await readBounded(scanned, output.label_filename, MAX_LABEL_BYTES)).toString('utf8');
    labels[output.name] = text.replace(/\r?\n$/, '').split(/\r?\n/);
  }
  return labels;
}

/** The scan has followed links and kept them inside the folder, so a scanned file is a safe one. */
function fileOf(scanned: ScannedModel, path: string, what: string): string {
  if (!isSafeRelativePath(path) || !scanned.files.some((file) => file.path === path)) {
    throw invalidArgument(
      `${what} names ${JSON.stringify(path.slice(0, 200))}, which is not a file in the model's folder`,
    );
  }
  return join(scanned.directory, path);
}

async function readBounded(scanned: ScannedModel, path: string, limit: number): Promise<Buffer> {
  const size = scanned.files.find((file) => file.path === path)?.size ?? 0;
  if (size > limit) throw invalidArgument(`${scanned.name}/${path} has ${size} bytes; allowed: up to ${limit}`);
  try {
    return await readFile(join(scanned.directory, path));
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? 'error';
    throw invalidArgument(`${scanned.name}/${path} cannot be read (${code})`);
  }
}
