import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { AdmissionConfig } from '../admission/admission-config.ts';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { readAdmissionConfig } from '../control/admission-config.ts';
import type { CorePlan } from '../control/core-plan.ts';
import { MAX_HEADER_BYTES } from '../server/http/head.ts';
import { chooseLibrary, httpLibrary } from '../server/http/open.ts';
import { PACKAGE_FOLDER } from '../shared/program-files.ts';
import { DEFAULT_LOG_SETTINGS, type LogSettings } from '../telemetry/log-settings.ts';
import { createLogger, type Logger } from '../telemetry/logging.ts';
import { divideCores } from './cores.ts';
import { type OnnxRuntime, prepareOnnxRuntime } from './onnx-runtime.ts';
import { resolvePaths } from './relative-paths.ts';

/** What `switchyard serve` hands to the process that serves, as its only argument (JSON). */
export interface ServeOptions {
  configFile: string | undefined;
  /** From flags and environment; they win over the file, also when it is read again. */
  overrides: Record<string, unknown>;
}

/** What every part of the program is made from; it does not change while the program runs. */
export interface Setup {
  /** When this began, by performance.now(). */
  startedAt: number;
  options: ServeOptions;
  /** Of this program. */
  version: string;
  /** Its paths are absolute. */
  config: Config;
  /** As it was read. */
  asWritten: Config;
  /** What the paths in documents that the configuration names are relative to. */
  baseDir: string;
  /** Absolute. */
  dataDir: string;
  admission: AdmissionConfig;
  onnxRuntime: OnnxRuntime;
  /** Of the threads that are started; undefined: they go where they like. */
  cores: CorePlan | undefined;
  logger: Logger;
  log(level: 'info' | 'warn' | 'error', message: string, fields: object): void;
  applyLogSettings(settings: LogSettings): void;
}

const { version } = JSON.parse(readFileSync(join(PACKAGE_FOLDER, 'package.json'), 'utf8')) as { version: string };

/** Reads the configuration and readies the process for it. Rejects with ConfigError. */
export async function readSetup(options: ServeOptions): Promise<Setup> {
  const startedAt = performance.now();
  const { configFile, overrides } = options;
  // uWS reads it once, when the first thread loads it; its own 4 KiB would refuse long tokens.
  process.env.UWS_HTTP_MAX_HEADERS_SIZE ??= String(MAX_HEADER_BYTES);
  const config = loadConfig(configFile, overrides);
  const asWritten = structuredClone(config);
  const baseDir = configFile === undefined ? process.cwd() : dirname(resolve(configFile));
  resolvePaths(config, baseDir);
  config.threads.gateways = await gatewayThreads(config);
  const dataDir = resolve(config.dataDir);
  const onnxRuntime = prepareOnnxRuntime(config, baseDir, dataDir);
  const { logger, apply } = createLogger({ thread: 'control', settings: { ...DEFAULT_LOG_SETTINGS } });
  logger.level = config.telemetry.logLevel;
  const problem = onnxRuntime.cudaProblem;
  if (problem !== '') logger.warn({ problem }, 'Models cannot be put on a GPU');
  return {
    startedAt,
    options,
    version,
    config,
    asWritten,
    baseDir,
    dataDir,
    admission: readAdmissionConfig(config.admission, baseDir, configFile),
    onnxRuntime,
    cores: await divideCores(config.threads, onnxRuntime.threads, logger),
    logger,
    log: (level, message, fields) => logger[level](fields, message),
    applyLogSettings: apply,
  };
}

/** node:http cannot share its port among threads. */
async function gatewayThreads({ threads, server }: Config): Promise<number> {
  if (threads.gateways === 1) return 1;
  const library = await chooseLibrary(httpLibrary(process.env.SWITCHYARD_HTTP), server.tls);
  return library === 'node' ? 1 : threads.gateways;
}
