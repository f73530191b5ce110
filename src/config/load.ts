import { readFileSync } from 'node:fs';
import { type Config, configSchema } from './schema.ts';
import { ConfigError, describe, located, readYaml } from './yaml-file.ts';

export { ConfigError } from './yaml-file.ts';

/** Reads and validates a YAML file. `overrides` (flags, environment) win over the file. Throws ConfigError. */
export function loadConfig(file: string | undefined, overrides: Record<string, unknown> = {}): Config {
  if (file === undefined) return parseConfig('', '(defaults)', overrides);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new ConfigError([`${file}: cannot be read: ${(error as Error).message}`]);
  }
  return parseConfig(text, file, overrides);
}

export function parseConfig(text: string, file: string, overrides: Record<string, unknown> = {}): Config {
  const yaml = readYaml(text, file);
  if (yaml.documents.length > 1) {
    const message = 'a second document starts here; the configuration is one document';
    throw new ConfigError(located(yaml, [{ offset: yaml.documents[0].document.range?.[2] ?? 0, message }]));
  }
  const plain = yaml.documents[0]?.plain ?? {};
  const result = configSchema.safeParse(merge(withoutEmptySections(plain), overrides));
  if (result.success) return result.data;
  const { document } = yaml.documents[0] ?? readYaml('{}', file).documents[0];
  throw new ConfigError(
    located(
      yaml,
      result.error.issues.flatMap((issue) => describe(issue, document)),
    ),
  );
}

/** A section all of whose settings are commented out reads as null; it is as good as absent. */
function withoutEmptySections(plain: unknown): unknown {
  if (typeof plain !== 'object' || plain === null || Array.isArray(plain)) return plain;
  return Object.fromEntries(
    Object.entries(plain).filter(([key, value]) => value !== null || !Object.hasOwn(configSchema.shape, key)),
  );
}

function merge(base: unknown, over: Record<string, unknown>): unknown {
  if (typeof base !== 'object' || base === null || Array.isArray(base))
    return Object.keys(over).length === 0 ? base : over;
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue;
    const nested = typeof value === 'object' && value !== null && !Array.isArray(value);
    merged[key] = nested ? merge(merged[key] ?? {}, value as Record<string, unknown>) : value;
  }
  return merged;
}
