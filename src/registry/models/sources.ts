import type { Db } from '../database/database.ts';
import { doesNotExist, invalidParameter, shown } from '../errors.ts';
import { checkRunId } from '../tracking/run-ref.ts';
import { checkAlias, checkModelName, versionNumber } from './names.ts';
import type { VersionRow } from './view.ts';

const MAX_SOURCE = 2048;
const NEXT = 'give runs:/<run id>/<path>, models:/<model id>, models:/<name>/<version> or mlflow-artifacts:/<path>';

export type Source =
  | { kind: 'run'; runId: string; path: string }
  | { kind: 'loggedModel'; modelId: string }
  | { kind: 'version'; name: string; version: number }
  | { kind: 'alias'; name: string; alias: string }
  | { kind: 'artifact'; path: string };

/** Where a version comes from and where its files lie. */
export interface ResolvedSource {
  source: string;
  /** mlflow-artifacts:/… */
  storageLocation: string;
  runId: string;
  modelId: string;
  /** The registered version that this one is a copy of. */
  copyOf?: VersionRow;
}

/**
 * Reads a version's source. Only what lies in this registry can be one: a file or another server named by a client would
 * be read with our rights. Throws INVALID_PARAMETER_VALUE.
 */
export function parseSource(source: string): Source {
  const invalid = (problem: string): Error =>
    invalidParameter(`Invalid model version source: ${shown(source)}: ${problem}; ${NEXT}`);
  if (source.length > MAX_SOURCE) throw invalid(`longer than ${MAX_SOURCE} characters`);
  const match = /^(runs|models|mlflow-artifacts):(.*)$/s.exec(source);
  if (match === null) throw invalid('only sources inside this registry are taken');
  const [, scheme, rest] = match;
  // mlflow-artifacts://host/… is how clients write the server that they themselves talk to.
  const path = (scheme === 'mlflow-artifacts' ? rest.replace(/^\/\/[^/]*/, '') : rest)
    .replace(/^\/+/, '')
    .replace(/\/+$/, '');
  if (scheme !== 'mlflow-artifacts' && rest.startsWith('//')) throw invalid('it names a host');
  if (!isPlain(path)) throw invalid('its path is not plain');
  const parts = path.split('/');
  if (scheme === 'mlflow-artifacts') return { kind: 'artifact', path };
  if (scheme === 'runs') {
    if (parts.length < 2) throw invalid('it names no path below the run');
    return { kind: 'run', runId: parts[0], path: parts.slice(1).join('/') };
  }
  if (parts.length === 1 && /^m-[0-9a-f]{32}$/.test(parts[0])) return { kind: 'loggedModel', modelId: parts[0] };
  const [name, alias] = splitAlias(path);
  if (alias !== undefined) return { kind: 'alias', name: checkModelName(name), alias: checkAlias(alias) };
  if (parts.length !== 2) throw invalid('it names no version');
  return { kind: 'version', name: checkModelName(parts[0]), version: versionNumber(parts[1]) };
}

function splitAlias(path: string): [string, string | undefined] {
  const at = path.lastIndexOf('@');
  return at <= 0 || path.includes('/') ? [path, undefined] : [path.slice(0, at), path.slice(at + 1)];
}

/** However often it is decoded, the path stays below its root. */
function isPlain(path: string): boolean {
  let text = path;
  for (let round = 0; round < 5; round++) {
    if (text === '' || /[\0-\x1f\x7f\\?#]/.test(text)) return false;
    if (text.split('/').some((part) => part === '' || part === '.' || part === '..')) return false;
    if (!/%[0-9a-f]{2}/i.test(text)) return true;
    text = text.replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
  return false;
}

/** Finds what a new version's source names. Throws for what is not there, and when run or model contradict the source. */
export async function resolveSource(
  db: Db,
  text: string,
  given: { runId: string; modelId: string },
): Promise<ResolvedSource> {
  const source = parseSource(text);
  if (given.runId !== '') checkRunId(given.runId);
  if (given.modelId !== '' && !/^[\w-]{1,256}$/.test(given.modelId))
    throw invalidParameter(
      `Invalid value ${shown(given.modelId)} for parameter 'model_id' supplied: a logged model's id is "m-" with letters and digits behind it`,
    );
  switch (source.kind) {
    case 'run': {
      agree(text, 'run_id', given.runId, source.runId);
      const location = await runLocation(db, source.runId, source.path);
      return { source: text, ...location, runId: source.runId, modelId: given.modelId || location.modelId };
    }
    case 'loggedModel': {
      agree(text, 'model_id', given.modelId, source.modelId);
      const model = await loggedModel(db, source.modelId);
      return {
        source: text,
        storageLocation: model.artifact_uri,
        runId: given.runId || model.source_run_id,
        modelId: source.modelId,
      };
    }
    case 'version':
    case 'alias': {
      const version = await versionSource(db, source);
      agree(text, 'run_id', given.runId, version.run_id);
      agree(text, 'model_id', given.modelId, version.model_id);
      return {
        source: `models:/${source.name}/${version.version}`,
        storageLocation: version.storage_location,
        runId: version.run_id,
        modelId: version.model_id,
        copyOf: version,
      };
    }
    case 'artifact': {
      const model = given.modelId === '' ? undefined : await loggedModel(db, given.modelId);
      return {
        source: text,
        storageLocation: `mlflow-artifacts:/${source.path}`,
        runId: given.runId || (model?.source_run_id ?? ''),
        modelId: given.modelId,
      };
    }
  }
}

function agree(source: string, parameter: string, given: string, found: string): void {
  if (given === '' || given === found) return;
  throw invalidParameter(
    `Invalid model version source: ${shown(source)}. The ${parameter} request parameter is ${shown(given)}, but the source belongs to ${shown(found)}`,
  );
}

/** Since MLflow 3 a run's model lies with its logged model, and only older clients put it below the run. */
async function runLocation(db: Db, runId: string, path: string): Promise<{ storageLocation: string; modelId: string }> {
  const run = await db.selectFrom('runs').select('artifact_uri').where('run_id', '=', runId).executeTakeFirst();
  if (run === undefined) throw doesNotExist(`Run with id=${shown(runId)} not found`);
  const model = await db
    .selectFrom('logged_models')
    .select(['model_id', 'artifact_uri'])
    .where('source_run_id', '=', runId)
    .where('name', '=', path)
    .where('lifecycle_stage', '=', 'active')
    .orderBy('creation_time', 'desc')
    .executeTakeFirst();
  if (model !== undefined) return { storageLocation: model.artifact_uri, modelId: model.model_id };
  return { storageLocation: `${run.artifact_uri}/${path}`, modelId: '' };
}

async function loggedModel(db: Db, modelId: string): Promise<{ artifact_uri: string; source_run_id: string }> {
  const model = await db
    .selectFrom('logged_models')
    .select(['artifact_uri', 'source_run_id'])
    .where('model_id', '=', modelId)
    .where('lifecycle_stage', '=', 'active')
    .executeTakeFirst();
  if (model === undefined) throw doesNotExist(`Logged model with ID ${shown(modelId)} not found.`);
  return model;
}

async function versionSource(
  db: Db,
  source: { name: string; version: number } | { name: string; alias: string },
): Promise<VersionRow> {
  let query = db
    .selectFrom('model_versions as v')
    .innerJoin('registered_models as m', 'm.model_key', 'v.model_key')
    .selectAll('v')
    .select('m.name')
    .where('m.name', '=', source.name);
  query =
    'version' in source
      ? query.where('v.version', '=', source.version)
      : query
          .innerJoin('model_aliases as a', (join) =>
            join.onRef('a.model_key', '=', 'v.model_key').onRef('a.version', '=', 'v.version'),
          )
          .where('a.alias', '=', source.alias);
  const found = await query.executeTakeFirst();
  if (found === undefined) throw doesNotExist(`The source ${shown(JSON.stringify(source))} names no model version`);
  return found;
}
