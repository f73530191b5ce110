import { ConfigError, describe, located, place, readYaml } from '../../config/yaml-file.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { machineSettings } from '../jobs/text-rules.ts';
import { type SweepDocument, sweepDocumentSchema } from './spec.ts';

const REFUSED = "is not allowed: a trial gets no access to its machine; the runner's settings decide where it runs";

/** A document of a request. Throws invalid_argument with all problems. */
export function readSweep(value: unknown): SweepDocument {
  const refused = machineSettings(value).map((path) => `${path.join('.')} ${REFUSED}`);
  const result = sweepDocumentSchema.safeParse(value);
  if (result.success && refused.length === 0) return result.data;
  const others = (result.error?.issues ?? []).map((issue) => {
    if (issue.code === 'unrecognized_keys')
      return `unknown setting ${issue.keys.map((key) => `'${[...issue.path, key].join('.')}'`).join(', ')}`;
    return `${issue.path.length === 0 ? 'the document' : issue.path.join('.')}: ${issue.message}`;
  });
  throw invalidArgument([...refused, ...others].join('; '));
}

/** The only sweep of a YAML text, checked. Throws ConfigError naming file, line and column of every problem. */
export function parseSweep(text: string, file: string): SweepDocument {
  const yaml = readYaml(text, file);
  const documents = yaml.documents.filter(({ plain }) => plain !== null);
  if (documents.length !== 1)
    throw new ConfigError([`${file}:1:1: holds ${documents.length} documents; give one sweep`]);
  const [{ plain, document }] = documents;
  const refused = machineSettings(plain).map((path) => ({
    offset: place(path, document),
    message: `${path.join('.')} ${REFUSED}`,
  }));
  const result = sweepDocumentSchema.safeParse(plain);
  const problems = [...refused, ...(result.error?.issues ?? []).flatMap((issue) => describe(issue, document))];
  if (problems.length > 0 || !result.success) throw new ConfigError(located(yaml, problems));
  return result.data;
}
