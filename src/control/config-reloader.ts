import { isDeepStrictEqual } from 'node:util';
import type { Logger } from 'pino';
import type { AdmissionConfig } from '../admission/admission-config.ts';
import { ConfigError, loadConfig } from '../config/load.ts';
import { type Config, configSchema } from '../config/schema.ts';
import { admissionFiles, readAdmissionConfig } from './admission-config.ts';
import { FileWatch } from './file-watch.ts';
import { changedLiveSettings, withLiveSettings } from './live-settings.ts';

export interface ReloadStatus {
  /** Counts configurations taken into use; starts at 1. */
  generation: number;
  /** Problems of the last attempt, each with file, line and column; empty: it was taken. */
  problems: string[];
  /** Sections that the last change brought into force. */
  applied: string[];
  /** Sections and settings that differ from what is in force, and need a restart. */
  restartNeeded: string[];
}

export interface ReloadSource {
  configFile: string | undefined;
  overrides: Record<string, unknown>;
}

/** What a reload can change, besides live-settings.ts; everything else of the configuration waits for a restart. */
const LIVE_SECTION = 'admission';
/** Settings of that section which connections were made with. */
const FIXED_ADMISSION = ['redisUrl'] as const;

/**
 * Reads the configuration again when one of its files changes, or on request: all of it is validated first, then the
 * admission section and the live settings are swapped whole; a bad one leaves the last good one serving. What threads and
 * sockets were built with needs a restart, and is named.
 */
export class ConfigReloader {
  current: Config;
  status: ReloadStatus = { generation: 1, problems: [], applied: [], restartNeeded: [] };
  private readonly source: ReloadSource;
  /** As it was read at the start: paths in `current` have been resolved since, and what cannot be had was taken back. */
  private readonly asWritten: Config;
  private readonly baseDir: string;
  private readonly applyAdmission: (config: AdmissionConfig) => void;
  private readonly log: Logger;
  private admission: AdmissionConfig;
  private lastTaken: Config;
  private files: FileWatch | undefined;

  /** @param initial in use; `admission` is what the threads started with, `asWritten` the configuration as it was read */
  constructor(
    source: ReloadSource,
    initial: { config: Config; asWritten: Config; admission: AdmissionConfig },
    baseDir: string,
    applyAdmission: (config: AdmissionConfig) => void,
    log: Logger,
  ) {
    this.source = source;
    this.current = initial.config;
    this.asWritten = initial.asWritten;
    this.lastTaken = initial.asWritten;
    this.admission = initial.admission;
    this.baseDir = baseDir;
    this.applyAdmission = applyAdmission;
    this.log = log;
  }

  /** Follows the files from now on; what has changed since they were read at the start is taken at once. */
  watch(): void {
    if (this.source.configFile === undefined) return;
    this.files = new FileWatch(() => this.read(false));
    this.files.follow([this.source.configFile]);
    this.read(false);
  }

  /** Reads and checks everything. Never throws: what cannot be used is reported in the status and the log. */
  reload(): ReloadStatus {
    this.read(true);
    return this.status;
  }

  close(): void {
    this.files?.close();
  }

  /** `asked`: somebody wants an answer, also when nothing has changed. */
  private read(asked: boolean): void {
    try {
      const next = loadConfig(this.source.configFile, this.source.overrides);
      // Also those of a configuration that is refused: one of them may be what is put right next.
      this.files?.follow(admissionFiles(next.admission, this.baseDir));
      const admission = readAdmissionConfig(next.admission, this.baseDir, this.source.configFile);
      const same = isDeepStrictEqual(next, this.lastTaken) && isDeepStrictEqual(admission, this.admission);
      if (asked || !same || this.status.problems.length > 0) this.take(next, admission);
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems : [(error as Error).message];
      if (!asked && isDeepStrictEqual(problems, this.status.problems)) return;
      this.status = { ...this.status, problems };
      this.log.error(
        { problems, generation: this.status.generation },
        'the new configuration cannot be used; the last good one goes on',
      );
    }
  }

  private take(next: Config, admission: AdmissionConfig): void {
    const restartNeeded = waitingForRestart(this.asWritten, next);
    const changed = changedLiveSettings(this.lastTaken, next);
    if (!isDeepStrictEqual(admission, this.admission)) {
      this.applyAdmission(admission);
      changed.unshift(LIVE_SECTION);
    }
    // Who asks again, or just after the file was noticed, hears of the last change.
    let { applied } = this.status;
    if (changed.length > 0) applied = changed;
    else if (!isDeepStrictEqual(next, this.lastTaken)) applied = [];
    this.lastTaken = next;
    this.admission = admission;
    const { redisUrl } = this.asWritten.admission;
    this.current = { ...withLiveSettings(this.current, next), admission: { ...next.admission, redisUrl } };
    const generation = this.status.generation + 1;
    this.status = { generation, problems: [], applied, restartNeeded };
    if (restartNeeded.length === 0) this.log.info({ generation, applied }, 'configuration reloaded');
    else
      this.log.warn({ generation, applied, restartNeeded }, 'configuration reloaded; part of it waits for a restart');
  }
}

/** Every section of the schema that has not taken effect at once, and of the one that has the settings that do not. */
function waitingForRestart(asWritten: Config, next: Config): string[] {
  const [inForce, wanted] = [withLiveSettings(asWritten, next), withLiveSettings(next, next)];
  const sections = (Object.keys(configSchema.shape) as (keyof Config)[]).filter(
    (section) => section !== LIVE_SECTION && !isDeepStrictEqual(inForce[section], wanted[section]),
  );
  const settings = FIXED_ADMISSION.filter((setting) => inForce.admission[setting] !== next.admission[setting]);
  return [...sections, ...settings.map((setting) => `${LIVE_SECTION}.${setting}`)];
}
