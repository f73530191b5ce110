import { z } from 'zod';
import type { Db } from '../database/database.ts';
import { run } from '../database/statements.ts';
import { invalidParameter } from '../errors.ts';
import { int64, required, text } from '../rest/fields.ts';
import { jsonRoute, type RestRoute } from '../rest/route.ts';
import { checkLength, LIMITS } from './limits.ts';
import { requireLoggedModels } from './logged-model-store.ts';
import { givenRunId, type RunRef, runToWrite } from './run-ref.ts';
import type { TrackingContext } from './tracking.ts';

const CONTEXT_TAG = 'mlflow.data.context';

const datasetInput = z.object({
  tags: z.array(z.object({ key: required, value: z.string().default('') })).default([]),
  dataset: z.object({
    name: required,
    digest: required,
    source_type: z.string().default(''),
    source: z.string().default(''),
    schema: text,
    profile: text,
  }),
});
export type DatasetInput = z.output<typeof datasetInput>;

function checkDataset({ dataset, tags }: DatasetInput): void {
  checkLength('the dataset name', dataset.name, LIMITS.datasetName);
  checkLength('the dataset digest', dataset.digest, LIMITS.datasetDigest);
  checkLength('the dataset source', dataset.source, LIMITS.datasetSource);
  checkLength('the dataset schema', dataset.schema ?? '', LIMITS.datasetSchema);
  checkLength('the dataset profile', dataset.profile ?? '', LIMITS.datasetProfile);
  for (const { key, value } of tags) {
    checkLength('the key of a dataset tag', key, LIMITS.inputTagKey);
    checkLength('the value of a dataset tag', value, LIMITS.inputTagValue);
  }
}

/** A dataset is one of its experiment's, known by name and digest; what came first stays. */
export async function insertDataset(db: Db, ref: RunRef, { dataset, tags }: DatasetInput): Promise<void> {
  await db
    .insertInto('datasets')
    .values({
      experiment_id: ref.experiment_id,
      name: dataset.name,
      digest: dataset.digest,
      source_type: dataset.source_type,
      source: dataset.source,
      schema: dataset.schema ?? null,
      profile: dataset.profile ?? null,
    })
    .onConflict((conflict) => conflict.columns(['experiment_id', 'name', 'digest']).doNothing())
    .execute();
  const { dataset_key } = await db
    .selectFrom('datasets')
    .select('dataset_key')
    .where('experiment_id', '=', ref.experiment_id)
    .where('name', '=', dataset.name)
    .where('digest', '=', dataset.digest)
    .executeTakeFirstOrThrow();
  const context = tags.find(({ key }) => key === CONTEXT_TAG)?.value ?? '';
  await db
    .insertInto('run_datasets')
    .values({ run_key: ref.run_key, dataset_key, tags: JSON.stringify(tags), context })
    .onConflict((conflict) => conflict.columns(['run_key', 'dataset_key']).doNothing())
    .execute();
}

interface ModelLink {
  model_id: string;
  step: number;
}

async function linkModels(
  db: Db,
  ref: RunRef,
  direction: 'input' | 'output',
  models: readonly ModelLink[],
): Promise<void> {
  await requireLoggedModels(
    db,
    models.map(({ model_id }) => model_id),
  );
  for (const { model_id, step } of models) {
    await run(
      db,
      `INSERT INTO run_models (run_key, direction, model_id, step) VALUES ($1, $2, $3, $4)
       ON CONFLICT (run_key, direction, model_id) DO UPDATE SET step = excluded.step`,
      [ref.run_key, direction, model_id, step],
    );
  }
}

/** What a run read and what it made: the ends of its lineage. */
export function inputRoutes({ database, events }: TrackingContext): RestRoute[] {
  return [
    jsonRoute({
      method: 'POST',
      path: '/api/2.0/mlflow/runs/log-inputs',
      operationId: 'mlflowLogInputs',
      summary: 'Note datasets and models that a run read',
      maxBodyBytes: 64 * 1024 * 1024,
      request: z.object({
        run_id: required,
        datasets: z.array(datasetInput).default([]),
        models: z.array(z.object({ model_id: required })).default([]),
      }),
      handle: async ({ run_id, datasets, models }) => {
        if (datasets.length > LIMITS.datasetsPerCall)
          throw invalidParameter(
            `A request can hold at most ${LIMITS.datasetsPerCall} datasets; it has ${datasets.length}`,
          );
        for (const dataset of datasets) checkDataset(dataset);
        await database.write(async (db) => {
          const ref = await runToWrite(db, database.kind, givenRunId({ run_id }));
          for (const dataset of datasets) await insertDataset(db, ref, dataset);
          await linkModels(
            db,
            ref,
            'input',
            models.map(({ model_id }) => ({ model_id, step: 0 })),
          );
        });
        return {};
      },
    }),
    jsonRoute({
      method: 'POST',
      path: '/api/2.0/mlflow/runs/outputs',
      operationId: 'mlflowLogOutputs',
      summary: 'Note models that a run made',
      request: z.object({
        run_id: required,
        models: z.array(z.object({ model_id: required, step: int64.default(0) })).default([]),
      }),
      handle: async ({ run_id, models }) => {
        await database.write(async (db) => {
          const ref = await runToWrite(db, database.kind, givenRunId({ run_id }));
          await linkModels(db, ref, 'output', models);
        });
        events.emit('run.outputs', { run_id, models: models.map(({ model_id }) => model_id) });
        return {};
      },
    }),
  ];
}
