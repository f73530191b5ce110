import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parse } from 'yaml';
import type { AdmissionConfig, ApiKeyConfig } from '../admission/admission-config.ts';
import { ConfigError } from '../config/load.ts';
import type { Config } from '../config/schema.ts';

/** Turns the configuration's admission section into what gateway threads take, reading the files it names. */
export function readAdmissionConfig(section: Config['admission'], baseDir: string): AdmissionConfig {
  const { keysFile, redisUrl: _, jwt, ...rest } = section;
  const keys = keysFile === undefined ? [] : readList<ApiKeyConfig>(resolve(baseDir, keysFile), 'admission.keysFile');
  return {
    ...rest,
    apiKeys: [...(rest.apiKeys ?? []), ...keys],
    jwt: jwt?.map(({ jwksFile, ...issuer }) =>
      jwksFile === undefined
        ? issuer
        : { ...issuer, jwks: readObject(resolve(baseDir, jwksFile), 'admission.jwt.jwksFile') },
    ),
  };
}

/** Files whose change means that the admission section has to be read again. */
export function admissionFiles(section: Config['admission'], baseDir: string): string[] {
  const files = [section.keysFile, ...(section.jwt ?? []).map((issuer) => issuer.jwksFile)];
  return files.filter((file) => file !== undefined).map((file) => resolve(baseDir, file));
}

function readList<T>(file: string, setting: string): T[] {
  const value = readYaml(file, setting);
  if (!Array.isArray(value)) throw new ConfigError([`${file}:1:1: ${setting}: must hold a list`]);
  return value as T[];
}

function readObject(file: string, setting: string): { keys: Record<string, unknown>[] } {
  const value = readYaml(file, setting) as { keys?: unknown } | null;
  if (!Array.isArray(value?.keys))
    throw new ConfigError([`${file}:1:1: ${setting}: must hold a JSON Web Key Set with "keys"`]);
  return { keys: value.keys as Record<string, unknown>[] };
}

function readYaml(file: string, setting: string): unknown {
  try {
    return parse(readFileSync(file, 'utf8'), { schema: 'core', maxAliasCount: 10 });
  } catch (error) {
    throw new ConfigError([`${file}:1:1: ${setting}: ${(error as Error).message.split('\n')[0]}`]);
  }
}
