import { invalidArgument, SwitchyardError } from '../shared/errors.ts';

/** The state behind /v2/logging, with Triton's field names. Plain data: pushed to every thread's logger. */
export interface LogSettings {
  log_file: string;
  log_info: boolean;
  log_warning: boolean;
  log_error: boolean;
  log_verbose_level: number;
  log_format: 'default' | 'ISO8601';
}

export const DEFAULT_LOG_SETTINGS: Readonly<LogSettings> = Object.freeze({
  log_file: '',
  log_info: true,
  log_warning: true,
  log_error: true,
  log_verbose_level: 0,
  log_format: 'default',
});

const FIELDS = Object.keys(DEFAULT_LOG_SETTINGS);

function show(value: unknown): string {
  return JSON.stringify(value) ?? String(value);
}

/**
 * The settings after an update; `update` itself and `current` stay as they are. All of it is taken or none.
 * Throws invalid_argument for unknown fields and bad values, unsupported for a change of log_file.
 */
export function updateLogSettings(current: LogSettings, update: Readonly<Record<string, unknown>>): LogSettings {
  const next = { ...current };
  for (const [field, value] of Object.entries(update)) {
    switch (field) {
      case 'log_info':
      case 'log_warning':
      case 'log_error':
        if (typeof value !== 'boolean')
          throw invalidArgument(`${field}: ${show(value)} is not allowed; give true or false`);
        next[field] = value;
        break;
      case 'log_verbose_level': {
        const level = typeof value === 'string' && /^\d{1,9}$/.test(value) ? Number(value) : value;
        if (typeof level !== 'number' || !Number.isSafeInteger(level) || level < 0) {
          throw invalidArgument(`log_verbose_level: ${show(value)} is not allowed; give a whole number, 0 or more`);
        }
        next.log_verbose_level = level;
        break;
      }
      case 'log_format':
        if (value !== 'default' && value !== 'ISO8601') {
          throw invalidArgument(`log_format: ${show(value)} is not allowed; give "default" or "ISO8601"`);
        }
        next.log_format = value;
        break;
      case 'log_file':
        if (value !== current.log_file) {
          throw new SwitchyardError(
            'unsupported',
            'log_file cannot be changed over the network; redirect standard output instead',
          );
        }
        break;
      default:
        throw invalidArgument(`unknown log setting ${show(field)}; known are ${FIELDS.join(', ')}`);
    }
  }
  return next;
}
