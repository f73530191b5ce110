import type { Selectable } from 'kysely';
import { type CommitContext, commit, type Happening } from '../../registry/commit.ts';
import type { RegistryDatabase } from '../../registry/database/database.ts';
import type { PipelineTables } from '../../registry/database/tables/pipelines.ts';
import type { EvaluationResult } from './result.ts';

type Row = Selectable<PipelineTables['evaluations']>;
/** A stored evaluation. */
export type Evaluation = Omit<Row, 'evaluation_key' | 'spec' | 'result'> & {
  key: number;
  spec: unknown;
  result: EvaluationResult;
};

export interface EvaluationQuery {
  model?: string | undefined;
  version?: string | undefined;
  dataset?: string | undefined;
  before: number;
  limit: number;
}

/** What evaluations found out, in the registry's database. */
export class Evaluations {
  private readonly database: RegistryDatabase;
  private readonly commits: CommitContext;

  constructor(commits: CommitContext) {
    this.database = commits.database;
    this.commits = commits;
  }

  /** @param happening what webhooks hear of it */
  async add(evaluation: Omit<Evaluation, 'key'>, happening?: Happening): Promise<void> {
    const { spec, result, ...rest } = evaluation;
    const row = { ...rest, spec: JSON.stringify(spec), result: JSON.stringify(result) };
    await commit(this.commits, async (db, _, note) => {
      if (happening !== undefined) note(happening);
      await db
        .insertInto('evaluations')
        .values(row)
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute();
    });
  }

  async get(id: string): Promise<Evaluation | undefined> {
    const row = await this.database.read((db) =>
      db.selectFrom('evaluations').selectAll().where('id', '=', id).executeTakeFirst(),
    );
    return row === undefined ? undefined : read(row);
  }

  /** Newest first. */
  async list({ model, version, dataset, before, limit }: EvaluationQuery): Promise<Evaluation[]> {
    const rows = await this.database.read((db) => {
      let query = db.selectFrom('evaluations').selectAll().where('evaluation_key', '<', before);
      if (model !== undefined) query = query.where('model', '=', model);
      if (version !== undefined) query = query.where('version', '=', version);
      if (dataset !== undefined) query = query.where('dataset_digest', '=', dataset);
      return query.orderBy('evaluation_key', 'desc').limit(limit).execute();
    });
    return rows.map(read);
  }

  /** The newest evaluation of the same file on the same data, asked in the same way. */
  async same(modelDigest: string, datasetDigest: string, specDigest: string): Promise<Evaluation | undefined> {
    const row = await this.database.read((db) =>
      db
        .selectFrom('evaluations')
        .selectAll()
        .where('model_digest', '=', modelDigest)
        .where('dataset_digest', '=', datasetDigest)
        .where('spec_digest', '=', specDigest)
        .orderBy('evaluation_key', 'desc')
        .limit(1)
        .executeTakeFirst(),
    );
    return row === undefined ? undefined : read(row);
  }

  /** Says which version a file became. One that became several has an evaluation of each. */
  async setVersion(id: string, model: string, version: string): Promise<void> {
    await this.database.write(async (db) => {
      const row = await db.selectFrom('evaluations').selectAll().where('id', '=', id).executeTakeFirst();
      if (row === undefined || (row.model === model && row.version === version)) return;
      if (row.version === '') {
        await db.updateTable('evaluations').set({ model, version }).where('id', '=', id).execute();
        return;
      }
      const { evaluation_key: _, ...copy } = row;
      const own = `${id.slice(0, 36)}-${model}-${version}`.slice(0, 200);
      await db
        .insertInto('evaluations')
        .values({ ...copy, id: own, model, version })
        .onConflict((conflict) => conflict.column('id').doNothing())
        .execute();
    });
  }
}

function read({ evaluation_key, spec, result, ...rest }: Row): Evaluation {
  return {
    ...rest,
    key: evaluation_key,
    spec: JSON.parse(spec) as unknown,
    result: JSON.parse(result) as EvaluationResult,
  };
}
