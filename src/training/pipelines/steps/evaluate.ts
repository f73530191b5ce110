import { randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { EvaluationSpec } from '../../evaluation/spec.ts';
import type { Evaluation } from '../../evaluation/store.ts';
import { type Artifact, type ArtifactFile, artifactDigest, chooseFile, fetchFiles, storeFiles } from '../artifacts.ts';
import { digestJson } from '../cache-key.ts';
import { allAliases } from '../check.ts';
import type { Bodies } from '../document.ts';
import { findNamed, type NamedVersion, versionBehind, versionFiles } from '../versions.ts';
import { runWork } from '../worker/launcher.ts';
import {
  artifactOf,
  digestOfInput,
  type Execution,
  type StepContext,
  type StepOutcome,
  type StepWork,
} from './context.ts';
import { dataFiles } from './data.ts';

type Body = Bodies['evaluate'];

/** The champion as an evaluate step saw it, for its gate. */
export type ChampionValue =
  | { version: string; evaluation: string }
  | { version: string; error: string }
  | 'none'
  | null;

interface Candidate {
  artifact: Artifact;
  file: ArtifactFile;
  /** Undefined: not registered yet. */
  named: NamedVersion | undefined;
}

function bodyOf({ step }: StepContext): Body {
  return step.evaluate as Body;
}

/** How the model is asked, without where it and the data come from. */
function specOf(body: Body): EvaluationSpec {
  const { model, modelFile, data, against, name, ...spec } = body;
  return spec;
}

async function candidateOf(context: StepContext): Promise<Candidate> {
  const { model, modelFile } = bodyOf(context);
  const named = model.startsWith('models:') ? await findNamed(context.services, model) : undefined;
  const artifact = named === undefined ? artifactOf(context, model) : await versionFiles(context.services, named);
  return { artifact, file: chooseFile(artifact, named === undefined ? modelFile : '', model), named };
}

/** The model whose champion is meant: the one given, or that which the pipeline registers. */
function modelName({ document }: StepContext, body: Body, named: NamedVersion | undefined): string | undefined {
  return body.name ?? named?.name ?? document.spec.steps.find((step) => step.register !== undefined)?.register?.name;
}

async function championOf(
  context: StepContext,
  named: NamedVersion | undefined,
): Promise<{ version: string; file: ArtifactFile } | undefined> {
  const body = bodyOf(context);
  const name = modelName(context, body, named);
  if (body.against.length === 0 || name === undefined) return undefined;
  const alias = allAliases(context.environment.spec).champion;
  const version = await versionBehind(context.services, name, alias);
  if (version === undefined) return undefined;
  const files = await versionFiles(context.services, { name, version });
  return { version, file: chooseFile(files, '', `version ${version} of ${name}`) };
}

async function fetchModel(
  { services, folder }: Execution,
  file: ArtifactFile,
  artifact: Artifact,
  where: string,
): Promise<string> {
  // Its neighbours come along: large models keep their weights beside the file.
  await fetchFiles(services.registry, artifact, join(folder, where));
  return join(folder, where, file.path);
}

export const evaluate: StepWork = {
  facts: async (context) => {
    const body = bodyOf(context);
    const { artifact, file, named } = await candidateOf(context);
    const champion = await championOf(context, named);
    const inputs = {
      model: artifactDigest(artifact),
      file: file.path,
      data: digestOfInput(context, body.data),
      champion: champion === undefined ? null : [champion.version, champion.file.digest],
    };
    return { body: { ...specOf(body), against: body.against }, inputs };
  },
  stillThere: async ({ services }, { values }) =>
    (await services.evaluations.get(String(values.evaluation))) !== undefined,
  execute: async (context): Promise<StepOutcome> => {
    const { services, step, run } = context;
    const body = bodyOf(context);
    const spec = specOf(body);
    const { artifact, file, named } = await candidateOf(context);
    const champion = await championOf(context, named);
    const dataset = digestOfInput(context, body.data);
    const known = champion === undefined ? undefined : await championEvaluation(context, champion.file, dataset, spec);
    const theirs = champion === undefined || known !== undefined ? undefined : champion.file;
    const result = await runWork(
      {
        kind: 'evaluate',
        model: await fetchModel(context, file, artifact, 'model'),
        data: await dataFiles(context, body.data),
        spec,
        champion: theirs === undefined ? undefined : await fetchModel(context, theirs, { files: [theirs] }, 'champion'),
      },
      context.signal,
    );
    const name = modelName(context, body, named) ?? '';
    const base = {
      dataset_digest: dataset,
      dataset_name: `${run.pipeline}/${body.data}`,
      pipeline_run: run.id,
      step: step.name,
      tracking_run: context.tracking.runId,
      created_at: services.now(),
    };
    let seen: ChampionValue = body.against.length === 0 ? null : 'none';
    if (champion !== undefined && known !== undefined) seen = { version: champion.version, evaluation: known.id };
    else if (champion !== undefined && result.champion !== undefined) {
      if ('error' in result.champion) seen = { version: champion.version, error: result.champion.error };
      else {
        const id = randomUUID();
        const plain = withoutAttribution(spec);
        await services.evaluations.add({
          ...base,
          id,
          model: name,
          version: champion.version,
          model_digest: champion.file.digest,
          spec: plain,
          spec_digest: digestJson(plain),
          result: result.champion,
        });
        seen = { version: champion.version, evaluation: id };
      }
    }
    const evaluation = result.evaluation!;
    const id = randomUUID();
    const { metrics, slices } = evaluation;
    const told = { id, model: name, version: named?.version ?? null, metrics, slices };
    await services.evaluations.add(
      {
        ...base,
        id,
        model: named === undefined ? '' : name,
        version: named?.version ?? '',
        model_digest: file.digest,
        spec,
        spec_digest: digestJson(withoutAttribution(spec)),
        result: evaluation,
      },
      { entity: 'evaluation', action: 'created', data: told },
    );
    await services.calls.log(context.tracking.runId, { metrics: evaluation.metrics });
    const path = join(context.folder, 'evaluation.json');
    await writeFile(path, `${JSON.stringify(evaluation, undefined, 2)}\n`);
    const artifacts = { evaluation: { files: await storeFiles(services.registry, path) } };
    const values = { evaluation: id, champion: seen, metrics: evaluation.metrics, samples: evaluation.samples };
    return {
      status: 'succeeded',
      outputs: { artifacts, values },
      reason: shown(evaluation.samples, evaluation.metrics),
    };
  },
};

const withoutAttribution = (spec: EvaluationSpec): EvaluationSpec => ({ ...spec, attribution: undefined });

function championEvaluation(
  { services }: StepContext,
  file: ArtifactFile,
  dataset: string,
  spec: EvaluationSpec,
): Promise<Evaluation | undefined> {
  return services.evaluations.same(file.digest, dataset, digestJson(withoutAttribution(spec)));
}

function shown(samples: number, metrics: Record<string, number>): string {
  const main = ['accuracy', 'f1', 'auc', 'logLoss', 'rmse', 'mae', 'r2'].filter((name) => Object.hasOwn(metrics, name));
  return `${samples} samples: ${main.map((name) => `${name} ${Number(metrics[name].toPrecision(4))}`).join(', ')}`;
}
