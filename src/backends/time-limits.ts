import { invalidArgument } from '../shared/errors.ts';
import type { LoadSpec } from './backend.ts';

const HANG_TIMEOUT_MS = 30_000;

/** `switchyard.hang_timeout_ms`: an execution that takes longer is taken for one that never ends. */
export function hangTimeoutMs(spec: LoadSpec): number {
  return milliseconds(spec, 'switchyard.hang_timeout_ms', HANG_TIMEOUT_MS);
}

/** A parameter in milliseconds. Throws invalid_argument, naming what is allowed. */
export function milliseconds(spec: LoadSpec, key: string, fallback: number): number {
  const text = spec.config.parameters[key];
  if (text === undefined) return fallback;
  const value = Number(text);
  if (!(value > 0) || value > 86_400_000) {
    throw invalidArgument(
      `parameter "${key}" of model "${spec.model}" is "${text}"; allowed: 1 to 86400000 milliseconds`,
    );
  }
  return value;
}
