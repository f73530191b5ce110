import { invalidArgument } from '../../shared/errors.ts';
import { nearest } from './map.ts';
import { EXTENSION_PREFIX, EXTENSIONS } from './schema.ts';

/**
 * Switchyard's own settings of a model, from its `switchyard.*` parameters. Those that are documents of their own,
 * `features` and `validation`, are read once by document-extensions.ts: executors complete configurations without them.
 */
export interface Extensions {
  /** undefined: by the model (custom operators are isolated) or the server's default. */
  isolation: 'thread' | 'process' | undefined;
  allowedBatchSizes: number[];
  latencyTargetMs: number;
  raggedPadValue: number;
  versionLabels: Record<string, string>;
  maxInflight: number;
  /** False: the version is loaded without being proven in a child process first. */
  preflight: boolean;
  /** False: preflight does not compare a batch with its single items. */
  preflightCompare: boolean;
  /** Never evicted under the memory budget. */
  pinned: boolean;
}

const ON_OFF: Readonly<Record<string, boolean>> = {
  on: true,
  true: true,
  '1': true,
  off: false,
  false: false,
  '0': false,
};

/** Reads the `switchyard.*` entries of flattened parameters. Throws invalid_argument naming the parameter and what it allows. */
export function readExtensions(parameters: Readonly<Record<string, string>>): Extensions {
  for (const key of Object.keys(parameters)) {
    const name = key.slice(EXTENSION_PREFIX.length);
    if (key.startsWith(EXTENSION_PREFIX) && !EXTENSIONS.includes(name)) {
      throw invalidArgument(
        `unknown parameter "${key}"; did you mean "${EXTENSION_PREFIX}${nearest(name, EXTENSIONS)}"?`,
      );
    }
  }
  const text = (name: string): string | undefined => {
    const value = parameters[EXTENSION_PREFIX + name];
    return value === undefined || value === '' ? undefined : value;
  };
  const number = (name: string, whole: boolean, low: number): number => {
    const value = text(name);
    if (value === undefined) return 0;
    const parsed = Number(value);
    if (!Number.isFinite(parsed) || parsed < low || (whole && !Number.isSafeInteger(parsed))) {
      const bound = Number.isFinite(low) ? ` of at least ${low}` : '';
      throw invalidArgument(
        `${EXTENSION_PREFIX}${name} is "${value}"; allowed: ${whole ? 'an integer' : 'a number'}${bound}`,
      );
    }
    return parsed;
  };
  const flag = (name: string, fallback: boolean): boolean => {
    const value = text(name)?.toLowerCase();
    if (value === undefined) return fallback;
    if (!Object.hasOwn(ON_OFF, value))
      throw invalidArgument(`${EXTENSION_PREFIX}${name} is "${value}"; allowed: on, off`);
    return ON_OFF[value];
  };
  const isolation = text('isolation');
  if (isolation !== undefined && isolation !== 'thread' && isolation !== 'process') {
    throw invalidArgument(`${EXTENSION_PREFIX}isolation is "${isolation}"; allowed: thread, process`);
  }
  return {
    isolation,
    allowedBatchSizes: batchSizes(text('allowed_batch_sizes')),
    latencyTargetMs: number('latency_target_ms', false, 0),
    raggedPadValue: number('ragged_pad_value', false, Number.NEGATIVE_INFINITY),
    versionLabels: labels(text('version_labels')),
    maxInflight: number('max_inflight', true, 0),
    preflight: flag('preflight', true),
    preflightCompare: flag('preflight_compare', true),
    pinned: flag('pinned', false),
  };
}

function batchSizes(value: string | undefined): number[] {
  if (value === undefined) return [];
  return value.split(',').map((part) => {
    const size = Number(part.trim());
    if (part.trim() !== '' && Number.isSafeInteger(size) && size > 0) return size;
    throw invalidArgument(
      `${EXTENSION_PREFIX}allowed_batch_sizes is "${value}"; allowed: positive integers, such as "8,16,32"`,
    );
  });
}

function labels(value: string | undefined): Record<string, string> {
  const result: Record<string, string> = {};
  for (const part of value === undefined ? [] : value.split(',')) {
    const match = /^\s*([A-Za-z][\w.-]{0,127})\s*=\s*([1-9]\d{0,18})\s*$/.exec(part);
    if (!match || match[1] === 'constructor' || match[1] === 'prototype') {
      throw invalidArgument(
        `${EXTENSION_PREFIX}version_labels is "${value}"; allowed: label=version pairs, such as "stable=3,canary=4"`,
      );
    }
    result[match[1]] = match[2];
  }
  return result;
}
