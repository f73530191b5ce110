import { resolve } from 'node:path';
import { z } from 'zod';
import type { AdmissionConfig, ApiKeyConfig } from '../admission/admission-config.ts';
import { validateAdmissionConfig } from '../admission/validate-config.ts';
import { apiKeySchema } from '../config/admission-schema.ts';
import { ConfigError } from '../config/load.ts';
import type { Config } from '../config/schema.ts';
import { describe, located, place, readYaml, readYamlFile, type YamlFile } from '../config/yaml-file.ts';
import { toSwitchyardError } from '../shared/errors.ts';

/** A hundred bytes a key: some eighty thousand of them. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;

const keyList = z.array(apiKeySchema);
const keysFileSchema = z.strictObject({ keys: keyList });
const jwksSchema = z.object({ keys: z.array(z.record(z.string(), z.unknown())) });

/**
 * Turns the configuration's admission section into what gateway threads take, reading the files it names, and checks the
 * whole. Throws ConfigError with file, line and column. Values are never quoted from a file of keys.
 *
 * @param configFile where the section stands; undefined: nowhere
 */
export function readAdmissionConfig(
  section: Config['admission'],
  baseDir: string,
  configFile?: string,
): AdmissionConfig {
  const { keysFile, redisUrl: _, jwt, ...rest } = section;
  const inline = rest.apiKeys ?? [];
  const keys = keysFile === undefined ? undefined : readKeysFile(resolve(baseDir, keysFile));
  const config: AdmissionConfig = {
    ...rest,
    apiKeys: [...inline, ...(keys?.keys ?? [])],
    jwt: jwt?.map(({ jwksFile, ...issuer }) =>
      jwksFile === undefined ? issuer : { ...issuer, jwks: readJwksFile(resolve(baseDir, jwksFile)) },
    ),
  };
  try {
    validateAdmissionConfig(config);
  } catch (error) {
    throw new ConfigError([whereIn(toSwitchyardError(error).message, inline.length, keys, configFile)]);
  }
  return config;
}

/** Files whose change means that the admission section has to be read again. */
export function admissionFiles(section: Config['admission'], baseDir: string): string[] {
  const files = [section.keysFile, ...(section.jwt ?? []).map((issuer) => issuer.jwksFile)];
  return files.filter((file) => file !== undefined).map((file) => resolve(baseDir, file));
}

interface KeysFile {
  keys: ApiKeyConfig[];
  yaml: YamlFile;
  /** Of the list in the document. */
  path: readonly string[];
}

function readKeysFile(file: string): KeysFile {
  const yaml = readOne(file, 'admission.keysFile');
  const { plain } = yaml.documents[0];
  if (Array.isArray(plain)) return { keys: checked(keyList, yaml, 'admission.keysFile'), yaml, path: [] };
  return { keys: checked(keysFileSchema, yaml, 'admission.keysFile').keys, yaml, path: ['keys'] };
}

function readJwksFile(file: string): z.infer<typeof jwksSchema> {
  return checked(jwksSchema, readOne(file, 'admission.jwt.jwksFile'), 'admission.jwt.jwksFile');
}

function readOne(file: string, setting: string): YamlFile {
  const yaml = readYamlFile(file, MAX_FILE_BYTES);
  if (yaml.documents.length === 0) throw new ConfigError([`${file}:1:1: ${setting}: the file is empty`]);
  if (yaml.documents.length === 1) return yaml;
  const message = `${setting}: a second document starts here; the file is one document`;
  throw new ConfigError(located(yaml, [{ offset: yaml.documents[0].document.range?.[2] ?? 0, message }]));
}

function checked<T>(schema: z.ZodType<T>, yaml: YamlFile, setting: string): T {
  const { plain, document } = yaml.documents[0];
  const result = schema.safeParse(plain);
  if (result.success) return result.data;
  const problems = result.error.issues.flatMap((issue) => describe(issue, document));
  throw new ConfigError(
    located(
      yaml,
      problems.map(({ offset, message }) => ({ offset, message: `${setting}: ${message}` })),
    ),
  );
}

/** The place of a setting that a message of validateAdmissionConfig begins with, such as `apiKeys[3].tenant: …`. */
function whereIn(message: string, inline: number, keys: KeysFile | undefined, configFile: string | undefined): string {
  const name = message.slice(0, message.indexOf(':'));
  const path = name.split(/[.[\]]+/).filter((part) => part !== '');
  const key = path[0] === 'apiKeys' ? Number(path[1]) : -1;
  if (key >= inline && keys !== undefined) {
    const inFile = [...keys.path, key - inline, ...path.slice(2)];
    const offset = place(inFile, keys.yaml.documents[0].document);
    const shown = message.replace(/^apiKeys\[\d+\]/, String(key - inline));
    return located(keys.yaml, [{ offset, message: `admission.keysFile: ${shown}` }])[0];
  }
  if (configFile === undefined) return `admission.${message}`;
  const yaml = readYamlFile(configFile);
  const { document } = yaml.documents[0] ?? readYaml('{}', configFile).documents[0];
  return located(yaml, [{ offset: place(['admission', ...path], document), message: `admission.${message}` }])[0];
}
