import type { Document } from 'yaml';
import { ConfigError, describe, issueMessage, located, type Problem, place, readYaml } from '../../config/yaml-file.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { type JobDocument, jobDocumentSchema } from './spec.ts';
import { machineSettings } from './text-rules.ts';

const REFUSED = "is not allowed: a job gets no access to its machine; the runner's settings decide where it runs";

/** The jobs of a YAML text. Throws ConfigError naming file, line and column of every problem. */
export function parseJobs(text: string, file: string): JobDocument[] {
  const yaml = readYaml(text, file);
  const problems: Problem[] = [];
  const jobs: JobDocument[] = [];
  for (const { plain, document } of yaml.documents) {
    if (plain === null) continue;
    const refused = machineSettings(plain);
    problems.push(
      ...refused.map((path) => ({ offset: place(path, document), message: `${path.join('.')} ${REFUSED}` })),
    );
    const result = jobDocumentSchema.safeParse(plain);
    if (result.success) jobs.push(result.data);
    else problems.push(...result.error.issues.flatMap((issue) => described(issue, document, refused)));
  }
  if (problems.length > 0) throw new ConfigError(located(yaml, problems));
  if (jobs.length === 0) throw new ConfigError([`${file}:1:1: holds no document`]);
  return jobs;
}

/** What is told once is not told again as an unknown setting. */
function described(
  issue: Parameters<typeof describe>[0],
  document: Document,
  refused: readonly PropertyKey[][],
): Problem[] {
  const told = new Set(refused.map((path) => `unknown setting '${path.join('.')}'`));
  return describe(issue, document).filter(({ message }) => !told.has(message));
}

/** A document of a request or of another part of the program. Throws invalid_argument with all problems. */
export function readJob(value: unknown): JobDocument {
  const refused = machineSettings(value).map((path) => path.join('.'));
  const result = jobDocumentSchema.safeParse(value);
  if (result.success && refused.length === 0) return result.data;
  const others = (result.error?.issues ?? []).flatMap((issue) => {
    const at = issue.path.join('.');
    if (issue.code !== 'unrecognized_keys') return [`${at === '' ? 'the document' : at}: ${issueMessage(issue)}`];
    const unknown = issue.keys.map((key) => [...issue.path, key].join('.')).filter((path) => !refused.includes(path));
    return unknown.map((path) => `unknown setting '${path}'`);
  });
  throw invalidArgument([...refused.map((path) => `${path} ${REFUSED}`), ...others].join('; '));
}
