import { dirname, resolve } from 'node:path';
import { ConfigError, loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { type Check, check, reasonOf } from './check.ts';
import { checkGpu, gpuPlaces } from './gpu.ts';
import { systemPlaces } from './libraries.ts';
import { checkMachine } from './machine.ts';
import { checkProgram } from './program.ts';
import { checkServices } from './services.ts';

export interface DoctorOptions {
  configFile: string | undefined;
  /** A GPU is wanted: what it lacks is a failure. */
  gpu: boolean;
}

/**
 * Looks at everything that `serve` with this configuration would use. Changes nothing, and rejects for nothing that it
 * finds: each finding is a check.
 */
export async function examine({ configFile, gpu }: DoctorOptions): Promise<Check[]> {
  const checks = await checkProgram();
  const config = readConfig(configFile, checks);
  const baseDir = configFile === undefined ? process.cwd() : dirname(resolve(configFile));
  checks.push(...gpuChecks(gpu, config?.models.cuda.providerLibrary, baseDir));
  if (config === undefined) return checks;
  for (const file of ['caFile', 'certFile', 'keyFile'] as const)
    if (config.kafka.ssl?.[file] !== undefined) config.kafka.ssl[file] = resolve(baseDir, config.kafka.ssl[file]);
  const [machine, services] = await Promise.all([
    // As serve reads it: relative to where the command runs.
    checkMachine(config.server, resolve(config.dataDir)),
    checkServices(config),
  ]);
  return [...checks, ...machine, ...services];
}

function gpuChecks(wanted: boolean, provider: string | undefined, baseDir: string): Check[] {
  try {
    const named = provider === undefined ? '' : resolve(baseDir, provider);
    return checkGpu(gpuPlaces(systemPlaces(), named), wanted);
  } catch (error) {
    return [check('gpu', 'providers', wanted ? 'failed' : 'missing', reasonOf(error), 'npm ci')];
  }
}

function readConfig(file: string | undefined, checks: Check[]): Config | undefined {
  try {
    const config = loadConfig(file);
    checks.push(check('program', 'configuration', 'ok', file ?? 'the defaults'));
    return config;
  } catch (error) {
    const found = error instanceof ConfigError ? error.problems.join('; ') : reasonOf(error);
    checks.push(check('program', 'configuration', 'failed', found, 'correct it; switchyard validate says the same'));
    return undefined;
  }
}
