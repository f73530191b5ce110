import type { RawConfig } from './map.ts';
import { ENUMS, fieldType, MESSAGES, ONE_OF } from './schema.ts';

/**
 * Fills every message that is present with its fields' defaults, as Triton prints configurations: clients such as
 * perf_analyzer read `response_cache.enable` or `model_transaction_policy.decoupled` without asking whether they exist.
 * Messages that are absent stay absent. Returns a new object.
 */
export function expandDefaults(raw: RawConfig, message = 'ModelConfig'): RawConfig {
  const exclusive = new Set(ONE_OF[message]?.flat());
  const result: RawConfig = {};
  for (const [name, type] of Object.entries(MESSAGES[message])) {
    const { base, repeated, mapKey } = fieldType(type);
    const given = raw[name];
    const nested = Object.hasOwn(MESSAGES, base);
    const item = (value: unknown): unknown => (nested ? expandDefaults(value as RawConfig, base) : value);
    if (given !== undefined) {
      if (repeated) result[name] = (given as unknown[]).map(item);
      else if (mapKey !== '') {
        result[name] = Object.fromEntries(Object.entries(given as RawConfig).map(([key, value]) => [key, item(value)]));
      } else result[name] = item(given);
    } else if (repeated) result[name] = [];
    else if (mapKey !== '') result[name] = {};
    else if (!nested && !exclusive.has(name)) result[name] = scalarDefault(base);
  }
  return result;
}

function scalarDefault(type: string): unknown {
  if (Object.hasOwn(ENUMS, type)) return ENUMS[type][0];
  if (type === 'string') return '';
  return type === 'bool' ? false : 0;
}
