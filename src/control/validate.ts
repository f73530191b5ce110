import { dirname, join, resolve } from 'node:path';
import { documentFiles } from '../config/document-files.ts';
import { ConfigError, loadConfig } from '../config/load.ts';
import { parseRoutes, readRouteFiles } from '../config/load-routes.ts';
import type { ModelConfig } from '../config/model-config.ts';
import type { Config } from '../config/schema.ts';
import { kafkaConfigured } from '../kafka/client.ts';
import { completeEnsemble } from '../models/config/complete.ts';
import { ensembleDependencies } from '../models/config/ensemble.ts';
import { type ScannedModel, scanRepositories } from '../models/repository/scan.ts';
import { readSource } from '../models/source.ts';
import { toSwitchyardError } from '../shared/errors.ts';
import { readAdmissionConfig } from './admission-config.ts';

export interface Validation {
  /** Models looked at. */
  models: number;
  /** One line each: `file:line:column: message`, without the place where a problem has none. */
  problems: string[];
}

/**
 * Checks a configuration and every model of its repositories (or of `repositories`, absolute) without loading one.
 * Never rejects for what is wrong with them.
 */
export async function validateAll(
  configFile: string | undefined,
  repositories: readonly string[] | undefined,
): Promise<Validation> {
  const problems: string[] = [];
  const config = validateConfig(configFile, problems);
  const baseDir = configFile === undefined ? process.cwd() : dirname(resolve(configFile));
  const folders = repositories ?? config?.models.repositories.map((folder) => resolve(baseDir, folder)) ?? [];
  const snapshot = await scanRepositories(folders);
  problems.push(...snapshot.warnings);
  const configs = new Map<string, ModelConfig>();
  for (const scanned of snapshot.models.values()) {
    try {
      const { config: model } = await readSource({ scanned, configJson: '' }, { gpus: 0, defaultIsolation: 'thread' });
      configs.set(scanned.name, model.ensemble === undefined ? model : completeEnsemble(model));
    } catch (error) {
      problems.push(located(scanned, toSwitchyardError(error).message));
    }
  }
  for (const [name, model] of configs) {
    for (const dependency of ensembleDependencies(model)) {
      if (snapshot.models.has(dependency)) continue;
      const scanned = snapshot.models.get(name)!;
      problems.push(located(scanned, `composes model "${dependency}", which is in no repository`));
    }
  }
  if (config !== undefined) {
    // What a registry or another server offers is not known here.
    const closed = config.models.source === 'repositories' && config.models.remotes.length === 0;
    const knows = (model: string): boolean => !closed || snapshot.models.has(model);
    try {
      const kafka = kafkaConfigured(config.kafka);
      parseRoutes(readRouteFiles(documentFiles(config.routes.files, baseDir)), { knowsModel: knows, kafka });
    } catch (error) {
      problems.push(...problemsOf(error, undefined));
    }
  }
  return { models: snapshot.models.size, problems };
}

function validateConfig(file: string | undefined, problems: string[]): Config | undefined {
  let config: Config;
  try {
    config = loadConfig(file);
  } catch (error) {
    problems.push(...problemsOf(error, file));
    return undefined;
  }
  const baseDir = file === undefined ? process.cwd() : dirname(resolve(file));
  try {
    readAdmissionConfig(config.admission, baseDir, file);
  } catch (error) {
    problems.push(...problemsOf(error, file));
  }
  return config;
}

function problemsOf(error: unknown, file: string | undefined): string[] {
  const list = error instanceof ConfigError ? error.problems : [toSwitchyardError(error).message];
  return list.map((problem) => {
    const placed = file === undefined || problem.startsWith(`${file}:`) || /:\d+:\d+: /.test(problem);
    return placed ? problem : `${file}: ${problem}`;
  });
}

/** Messages name files as `<model>/<file>`, fit for clients; whoever validates wants a path to open. */
function located({ name, directory, configFile }: ScannedModel, message: string): string {
  if (message.startsWith(`${name}/`)) return join(directory, '..', message);
  return `${configFile === '' ? directory : join(directory, configFile)}: ${message}`;
}
