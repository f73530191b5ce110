import { isDeepStrictEqual } from 'node:util';
import { type FSWatcher, watch } from 'chokidar';
import type { Logger } from 'pino';
import type { AdmissionConfig } from '../admission/admission-config.ts';
import { validateAdmissionConfig } from '../admission/validate-config.ts';
import { ConfigError, loadConfig } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { admissionFiles, readAdmissionConfig } from './admission-config.ts';

export interface ReloadStatus {
  /** Counts configurations taken into use; starts at 1. */
  generation: number;
  /** Problems of the last attempt, each with file, line and column; empty: it was taken. */
  problems: string[];
  /** Settings that changed in the file but need a restart. */
  restartNeeded: string[];
}

/**
 * Reads the configuration again when one of its files changes, or on request: all of it is validated first, then it
 * is swapped whole; a bad one leaves the last good one serving. Admission changes take effect at once; what the
 * threads and sockets were built with needs a restart, and is named.
 */
export class ConfigReloader {
  current: Config;
  status: ReloadStatus = { generation: 1, problems: [], restartNeeded: [] };
  private readonly file: string | undefined;
  private readonly overrides: Record<string, unknown>;
  private readonly baseDir: string;
  private readonly applyAdmission: (config: AdmissionConfig) => void;
  private readonly log: Logger;
  private watcher: FSWatcher | undefined;

  constructor(
    source: { configFile: string | undefined; overrides: Record<string, unknown> },
    initial: Config,
    baseDir: string,
    applyAdmission: (config: AdmissionConfig) => void,
    log: Logger,
  ) {
    this.file = source.configFile;
    this.overrides = source.overrides;
    this.current = initial;
    this.baseDir = baseDir;
    this.applyAdmission = applyAdmission;
    this.log = log;
  }

  watch(): void {
    const files = admissionFiles(this.current.admission, this.baseDir);
    if (this.file !== undefined) files.push(this.file);
    if (files.length === 0) return;
    this.watcher = watch(files, {
      ignoreInitial: true,
      awaitWriteFinish: { stabilityThreshold: 50, pollInterval: 20 },
    });
    this.watcher.on('all', () => this.reload());
  }

  /** Never throws: a configuration that cannot be used is reported in the status and the log. */
  reload(): ReloadStatus {
    try {
      const next = loadConfig(this.file, this.overrides);
      const admission = readAdmissionConfig(next.admission, this.baseDir);
      validateAdmissionConfig(admission);
      const restartNeeded = sectionsChanged(this.current, next);
      this.applyAdmission(admission);
      this.current = { ...this.current, admission: next.admission };
      this.status = { generation: this.status.generation + 1, problems: [], restartNeeded };
      this.log.info({ generation: this.status.generation, restartNeeded }, 'configuration reloaded');
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems : [(error as Error).message];
      this.status = { ...this.status, problems };
      this.log.error(
        { problems, generation: this.status.generation },
        'the new configuration cannot be used; the last good one goes on',
      );
    }
    return this.status;
  }

  async close(): Promise<void> {
    await this.watcher?.close();
  }
}

const FIXED_SECTIONS = ['server', 'threads', 'limits', 'models', 'routes', 'cache', 'telemetry', 'dataDir'] as const;

function sectionsChanged(current: Config, next: Config): string[] {
  return FIXED_SECTIONS.filter((section) => !isDeepStrictEqual(current[section], next[section]));
}
