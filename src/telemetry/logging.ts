import { type DestinationStream, type Logger, pino } from 'pino';
import { DEFAULT_LOG_SETTINGS, type LogSettings } from './log-settings.ts';

export type { Logger } from 'pino';

/** A logger whose settings can change while it runs. */
export interface SettableLogger {
  logger: Logger;
  /** Takes effect with the next line. */
  apply(settings: LogSettings): void;
}

export interface LoggerOptions {
  /** Name of the thread, in every line. */
  thread: string;
  settings?: LogSettings;
  /** Default: standard output. */
  destination?: DestinationStream;
}

const SECRETS = [
  'authorization',
  'apiKey',
  'api_key',
  'x-api-key',
  'x-switchyard-api-key',
  'cookie',
  'password',
  'token',
  'secret',
];
const REDACTED = SECRETS.flatMap((field) => [`["${field}"]`, `*["${field}"]`, `*.*["${field}"]`]);

/** Replaces the folders of absolute paths by …: logs leave the machine, its layout should not. */
export function scrubPaths(text: string): string {
  return text.replace(/(?:file:\/\/|(?<![\w./:]))\/(?:[^\s/:'"()]+\/)+/g, '…/');
}

function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return typeof error === 'string' ? scrubPaths(error) : error;
  const code = (error as { code?: unknown }).code;
  return {
    type: error.name,
    ...(typeof code === 'string' ? { code } : {}),
    message: scrubPaths(error.message),
    stack: scrubPaths(error.stack ?? ''),
    ...(error.cause instanceof Error ? { cause: scrubPaths(error.cause.message) } : {}),
  };
}

/** pino's lowest level that must reach the method at all. */
function lowest(settings: LogSettings): string {
  if (settings.log_verbose_level > 1) return 'trace';
  if (settings.log_verbose_level === 1) return 'debug';
  if (settings.log_info) return 'info';
  if (settings.log_warning) return 'warn';
  return settings.log_error ? 'error' : 'silent';
}

/** Triton's switches are independent: warnings may be off while information is on. */
function wanted(settings: LogSettings, level: number): boolean {
  if (level >= 50) return settings.log_error;
  if (level >= 40) return settings.log_warning;
  if (level >= 30) return settings.log_info;
  return true;
}

/** A pino logger: one JSON object per line, credentials redacted by field, no host name, no paths in errors. */
export function createLogger(options: LoggerOptions): SettableLogger {
  let settings: LogSettings = options.settings ?? DEFAULT_LOG_SETTINGS;
  const logger = pino(
    {
      level: lowest(settings),
      base: { thread: options.thread },
      redact: { paths: REDACTED, censor: '[redacted]' },
      serializers: { err: describeError, error: describeError },
      timestamp: () =>
        settings.log_format === 'ISO8601' ? `,"time":"${new Date().toISOString()}"` : `,"time":${Date.now()}`,
      hooks: {
        logMethod(args, method, level) {
          if (wanted(settings, level)) method.apply(this, args);
        },
      },
    },
    options.destination ?? pino.destination(1),
  );
  return {
    logger,
    apply(next) {
      settings = next;
      logger.level = lowest(next);
    },
  };
}
