import { dirname } from 'node:path';
import type { Document } from 'yaml';
import { ConfigError, located, type Problem, place, readYamlFile } from '../../config/yaml-file.ts';
import { invalidArgument } from '../../shared/errors.ts';
import { type TriggerDocument, triggerProblems, triggerSchema } from '../triggers/document.ts';
import { type DocumentProblem, describeProblems, environmentProblems, pipelineProblems } from './check.ts';
import { readCode } from './code.ts';
import { type EnvironmentDocument, environmentSchema } from './document.ts';

/** A pipeline as it was written, with its code inside; expressions are still in it. */
export interface RawPipeline {
  name: string;
  document: Record<string, unknown>;
}

/** Everything that pipeline files say, or that was given over the API. */
export interface PipelineSet {
  pipelines: Map<string, RawPipeline>;
  environments: Map<string, EnvironmentDocument>;
  triggers: Map<string, TriggerDocument>;
}

export const DOCUMENT_KINDS = ['Pipeline', 'PipelineEnvironment', 'Trigger'] as const;
export type DocumentKind = (typeof DOCUMENT_KINDS)[number];

export function emptySet(): PipelineSet {
  return { pipelines: new Map(), environments: new Map(), triggers: new Map() };
}

/** Throws ConfigError with every problem of every file, each with its line and column. */
export function loadPipelineFiles(files: readonly string[]): PipelineSet {
  const set = emptySet();
  const problems: string[] = [];
  for (const file of files) {
    try {
      readFile(file, set, problems);
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems.push(...error.problems);
    }
  }
  if (problems.length > 0) throw new ConfigError(problems);
  return set;
}

function readFile(file: string, set: PipelineSet, problems: string[]): void {
  const yaml = readYamlFile(file);
  const found: Problem[] = [];
  for (const { plain, document } of yaml.documents) {
    if (plain === null) continue;
    const here = [...inlineCode(plain, dirname(file)), ...documentProblems(plain)];
    if (here.length === 0) here.push(...addDocument(set, plain));
    found.push(...here.map((problem) => atPlace(problem, document)));
  }
  problems.push(...located(yaml, found));
}

function atPlace({ path, message }: DocumentProblem, document: Document): Problem {
  const where = path.length === 0 ? 'the document' : path.join('.');
  return { offset: place(path, document), message: `${where}: ${message}` };
}

/** Puts the files of `code` into the jobs of a pipeline's steps, in place. */
function inlineCode(plain: unknown, base: string): DocumentProblem[] {
  const steps = (plain as { spec?: { steps?: unknown } })?.spec?.steps;
  if (!Array.isArray(steps)) return [];
  return steps.flatMap((step: unknown, i) =>
    (['train', 'run'] as const).flatMap((kind) => {
      const body = (step as Record<string, unknown> | null)?.[kind] as Record<string, unknown> | undefined;
      if (typeof body !== 'object' || body === null || body.code === undefined) return [];
      const path = ['spec', 'steps', i, kind, 'code'];
      try {
        const job = (body.job ?? {}) as { files?: object };
        body.job = { ...job, files: { ...readCode(body.code, base), ...job.files } };
        delete body.code;
        return [];
      } catch (error) {
        delete body.code;
        return [{ path, message: (error as Error).message }];
      }
    }),
  );
}

/** Everything wrong with one document of any of the kinds. */
export function documentProblems(plain: unknown): DocumentProblem[] {
  const kind = (plain as { kind?: unknown } | null)?.kind;
  if (kind === 'Pipeline') return pipelineProblems(plain);
  if (kind === 'PipelineEnvironment') return environmentProblems(plain);
  if (kind === 'Trigger') return triggerProblems(plain);
  return [{ path: ['kind'], message: `must be one of ${DOCUMENT_KINDS.join(', ')}` }];
}

/** Adds a document without problems. A name that is taken is one. */
export function addDocument(set: PipelineSet, plain: unknown): DocumentProblem[] {
  const { kind, metadata } = plain as { kind: DocumentKind; metadata: { name: string } };
  const { name } = metadata;
  const into = kind === 'Pipeline' ? set.pipelines : kind === 'Trigger' ? set.triggers : set.environments;
  if (into.has(name)) return [{ path: ['metadata', 'name'], message: `there is another ${kind} ${name}` }];
  if (kind === 'Pipeline') set.pipelines.set(name, { name, document: plain as Record<string, unknown> });
  else if (kind === 'Trigger') set.triggers.set(name, triggerSchema.parse(plain));
  else set.environments.set(name, environmentSchema.parse(plain));
  return [];
}

/** A document of a request. Throws invalid_argument with all its problems. */
export function readDocument(plain: unknown): { kind: DocumentKind; name: string } {
  const problems = documentProblems(plain);
  if (problems.length > 0) throw invalidArgument(describeProblems(problems));
  const { kind, metadata } = plain as { kind: DocumentKind; metadata: { name: string } };
  return { kind, name: metadata.name };
}
