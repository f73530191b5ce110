import assert from 'node:assert/strict';
import { RegistryUnderTest } from './registry.ts';

/** Path of the registry's own API. */
export const OWN = '/api/v1/registry';
/** The logged model that versions are made from, and the run that logged it. */
export const MODEL_ID = `m-${'0123456789abcdef'.repeat(2)}`;
export const RUN_ID = 'c'.repeat(32);
export const INVALID = [400, 'INVALID_PARAMETER_VALUE'] as const;
export const MISSING = [404, 'RESOURCE_DOES_NOT_EXIST'] as const;

/** A registry on a database of its own that holds one run with one logged model, and what makes models of it. */
export class ModelsUnderTest {
  readonly registry: RegistryUnderTest;
  private names = 0;

  static async open(): Promise<ModelsUnderTest> {
    const registry = await RegistryUnderTest.open();
    await seed(registry);
    return new ModelsUnderTest(registry);
  }

  private constructor(registry: RegistryUnderTest) {
    this.registry = registry;
  }

  close(): Promise<void> {
    return this.registry.close();
  }

  /** A call that must be refused so. Resolves with the message. */
  readonly refused = async (
    method: string,
    path: string,
    values: Record<string, unknown>,
    [status, code]: readonly [number, string],
  ): Promise<string> => {
    const answer = await this.registry.call(method, path, values);
    const given = answer.json.error_code ?? answer.json.code;
    assert.deepEqual([answer.status, given], [status, code], JSON.stringify(answer.json));
    return (answer.json.message ?? answer.json.error) as string;
  };

  /** A model with versions 1 to `versions`. */
  readonly model = async (versions = 0): Promise<string> => {
    const name = `model ${this.names++}`;
    await this.registry.ok('POST', 'registered-models/create', { name });
    for (let i = 0; i < versions; i++) await this.version(name);
    return name;
  };

  readonly version = async (name: string, more: Record<string, unknown> = {}): Promise<Record<string, never>> => {
    const values = { name, source: `models:/${MODEL_ID}`, ...more };
    return (await this.registry.ok('POST', 'model-versions/create', values)).model_version;
  };
}

/** A run with a commit and a dataset, and a logged model, as a client would have left them. */
async function seed({ registry }: RegistryUnderTest): Promise<void> {
  await registry.database.write(async (db) => {
    const { run_key } = await db
      .insertInto('runs')
      .values({
        run_id: RUN_ID,
        experiment_id: 0,
        run_name: 'seed',
        user_id: 'tester',
        status: 'FINISHED',
        lifecycle_stage: 'active',
        start_time: 1,
        end_time: 2,
        deleted_time: null,
        artifact_uri: `mlflow-artifacts:/0/${RUN_ID}/artifacts`,
      })
      .returning('run_key')
      .executeTakeFirstOrThrow();
    await db
      .insertInto('tags')
      .values({ run_key, experiment_id: 0, key: 'mlflow.source.git.commit', value: 'abc123', json: '{}' })
      .execute();
    const { dataset_key } = await db
      .insertInto('datasets')
      .values({
        experiment_id: 0,
        name: 'iris',
        digest: 'd1g35t',
        source_type: 'local',
        source: '{}',
        schema: null,
        profile: null,
      })
      .returning('dataset_key')
      .executeTakeFirstOrThrow();
    await db.insertInto('run_datasets').values({ run_key, dataset_key, tags: '[]', context: 'training' }).execute();
    await db
      .insertInto('logged_models')
      .values({
        model_id: MODEL_ID,
        experiment_id: 0,
        name: 'classifier',
        artifact_uri: `mlflow-artifacts:/0/models/${MODEL_ID}/artifacts`,
        model_type: '',
        source_run_id: RUN_ID,
        status: 'LOGGED_MODEL_READY',
        status_message: '',
        lifecycle_stage: 'active',
        creation_time: 1,
        last_update_time: 1,
      })
      .execute();
  });
}
