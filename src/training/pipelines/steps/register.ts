import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { RegistryError } from '../../../registry/errors.ts';
import { type Artifact, artifactDigest, chooseFile, nameFiles, storeFiles } from '../artifacts.ts';
import { digestJson } from '../cache-key.ts';
import type { Bodies } from '../document.ts';
import {
  artifactOf,
  digestOfInput,
  type Execution,
  type StepContext,
  type StepOutcome,
  type StepWork,
  stepValue,
} from './context.ts';
import { addEvidence, type GateFindings, makeChallenger } from './gate.ts';

const STEP_TAG = 'switchyard.pipeline_step';
const CONTENT_TAG = 'switchyard.content_digest';

function bodyOf({ step }: StepContext): Bodies['register'] {
  return step.register as Bodies['register'];
}

/** The files of the version: an MLflow model as it is, or the ONNX file with an MLmodel file that says so. */
async function versionArtifact(context: Execution): Promise<Artifact> {
  const { model, modelFile, files, config } = bodyOf(context);
  const given = artifactOf(context, model);
  const parts = given.files.some(({ path }) => path === 'MLmodel')
    ? [...given.files]
    : [{ ...chooseFile(given, modelFile, model), path: 'model.onnx' }, ...(await mlmodel(context))];
  for (const [path, reference] of Object.entries(files)) {
    const extra = artifactOf(context, reference);
    for (const file of extra.files)
      parts.push({ ...file, path: extra.files.length === 1 ? path : `${path}/${file.path}` });
  }
  if (config !== undefined) parts.push(...(await written(context, 'config.pbtxt', config)));
  return { files: parts };
}

function mlmodel(context: Execution): Promise<Artifact['files']> {
  const text = 'artifact_path: model\nflavors:\n  onnx:\n    data: model.onnx\n';
  return written(context, 'MLmodel', text);
}

async function written({ folder, services }: Execution, name: string, text: string): Promise<Artifact['files']> {
  const path = join(folder, 'made', name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  return storeFiles(services.registry, path);
}

/** The run that trained the model, where one did. */
function trainingRun(context: StepContext): string {
  const [name] = bodyOf(context).model.split('.');
  const run = context.outputs.get(name)?.values.run;
  return typeof run === 'string' ? run : '';
}

/** What the version consists of: the same is the same version, whichever run asks for it. */
function contentDigest(context: StepContext): string {
  const { model, modelFile, files, config } = bodyOf(context);
  const extras = Object.entries(files).map(([path, reference]) => [path, digestOfInput(context, reference)]);
  return digestJson({ model: artifactDigest(artifactOf(context, model)), modelFile, extras, config: config ?? null });
}

/** The version that was made of the same content; with `cache: false` only by this very step, before the server stopped. */
async function madeBefore(
  { services, run, step }: StepContext,
  name: string,
  content: string,
): Promise<string | undefined> {
  const [key, value] = step.cache ? [CONTENT_TAG, content] : [STEP_TAG, `${run.id}/${step.name}`];
  const filter = `name = '${name.replaceAll("'", "''")}' AND tag.\`${key}\` = '${value}'`;
  const request = { filter, max_results: 1, order_by: ['version_number DESC'] };
  return (await services.calls.call('mlflowSearchModelVersions', request)).model_versions?.[0]?.version;
}

async function createVersion(context: Execution): Promise<{ version: string; fresh: boolean }> {
  const { services, run, step, tracking, commit, environment } = context;
  const { name, description, tags } = bodyOf(context);
  try {
    await services.calls.call('mlflowCreateRegisteredModel', { name }, run.actor);
  } catch (error) {
    if (!(error instanceof RegistryError) || error.registryCode !== 'RESOURCE_ALREADY_EXISTS') throw error;
  }
  const content = contentDigest(context);
  const before = await madeBefore(context, name, content);
  if (before !== undefined) return { version: before, fresh: false };
  await nameFiles(services.registry, tracking.artifactUri, { model: await versionArtifact(context) }, services.now());
  const all = {
    ...tags,
    [STEP_TAG]: `${run.id}/${step.name}`,
    [CONTENT_TAG]: content,
    'switchyard.pipeline': run.pipeline,
    'switchyard.pipeline_run': run.id,
    'switchyard.environment': environment.name,
    'switchyard.datasets': datasetDigests(context).join(','),
    ...(commit === '' ? {} : { 'switchyard.commit': commit }),
  };
  const { model_version } = await services.calls.call(
    'mlflowCreateModelVersion',
    {
      name,
      source: `${tracking.artifactUri}/model`,
      run_id: trainingRun(context),
      description,
      tags: Object.entries(all).map(([key, value]) => ({ key, value })),
    },
    run.actor,
  );
  return { version: model_version.version, fresh: true };
}

/** Digests of what the training step read. */
function datasetDigests(context: StepContext): string[] {
  const [name] = bodyOf(context).model.split('.');
  const step = context.document.spec.steps.find((one) => one.name === name);
  const inputs = Object.values((step?.train ?? step?.run)?.inputs ?? {});
  return inputs
    .map((input) => (typeof input === 'string' ? digestOfInput(context, input) : (input.digest as string)))
    .slice(0, 20);
}

export const register: StepWork = {
  // Evidence and alias belong to each run, also when the version was there before.
  facts: async () => undefined,
  execute: async (context): Promise<StepOutcome> => {
    const { services } = context;
    const { name, evaluation, gate, challenger } = bodyOf(context);
    const { version, fresh } = await createVersion(context);
    const target = { name, version };
    if (evaluation !== undefined)
      await services.evaluations.setVersion(stepValue(context, evaluation, 'evaluation'), name, version);
    let promoted = '';
    if (gate !== undefined) {
      const findings = stepValue<GateFindings>(context, gate, 'findings');
      await addEvidence(context, target, findings);
      if (challenger) promoted = `, ${await makeChallenger(context, target, findings)}`;
    }
    return {
      status: 'succeeded',
      outputs: { artifacts: {}, values: { version: target } },
      reason: `version ${version} of ${name}${fresh ? '' : ', as it was registered before'}${promoted}`,
    };
  },
};
