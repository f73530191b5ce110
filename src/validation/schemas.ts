import { type DataSchema, dataSchema } from '../config/data-schema.ts';
import { type Caller, checkName } from '../datasets/entities/dataset.ts';
import type { Datasets } from '../datasets/entities/datasets.ts';
import { doesNotExist, invalidParameter } from '../registry/errors.ts';
import type { RegistryParts } from '../registry/registry.ts';
import { type Anomaly, findAnomalies } from './anomalies.ts';
import { inferDataSchema } from './infer.ts';

export interface SchemaVersion {
  name: string;
  version: number;
  schema: DataSchema;
  /** "name/version" of the dataset it was inferred from; '' = written by hand. */
  dataset: string;
  actor: string;
  /** Milliseconds since 1970. */
  createdAt: number;
}

export interface DatasetAt {
  name: string;
  /** Undefined: the latest. */
  version: number | undefined;
}

export interface SchemaPage {
  /** Undefined: all. */
  name: string | undefined;
  after: { name: string; version: number } | undefined;
  limit: number;
}

/** Schemas by name, in versions that never change; and datasets checked by them. */
export class DataSchemas {
  private readonly parts: Pick<RegistryParts, 'database'>;
  private readonly datasets: Datasets;

  constructor(parts: Pick<RegistryParts, 'database'>, datasets: Datasets) {
    this.parts = parts;
    this.datasets = datasets;
  }

  /** The next version of a name. The same schema as the latest again is that version. Throws invalid_argument. */
  async put(name: string, body: unknown, dataset: string, { actor }: Caller): Promise<SchemaVersion> {
    checkName(name);
    const schema = parseSchema(body);
    const text = JSON.stringify(schema);
    return this.parts.database.write(async (db) => {
      const latest = await db
        .selectFrom('data_schemas')
        .selectAll()
        .where('name', '=', name)
        .orderBy('version', 'desc')
        .limit(1)
        .executeTakeFirst();
      if (latest?.body === text) return view(latest);
      const row = { name, version: (latest?.version ?? 0) + 1, body: text, dataset, actor, created_at: Date.now() };
      await db.insertInto('data_schemas').values(row).execute();
      return view(row);
    });
  }

  /** A schema as a dataset suggests it, kept as the next version of `name`. */
  async infer(name: string, from: DatasetAt, by: Caller): Promise<SchemaVersion> {
    const { version } = await this.datasets.get(from.name, from.version, by);
    const profile = await this.datasets.profile(from.name, version, by);
    return this.put(name, inferDataSchema(profile), `${from.name}/${version}`, by);
  }

  /** @param version undefined: the latest. Throws not_found. */
  async get(name: string, version: number | undefined): Promise<SchemaVersion> {
    const row = await this.parts.database.read((db) => {
      const query = db.selectFrom('data_schemas').selectAll().where('name', '=', name);
      return version === undefined
        ? query.orderBy('version', 'desc').limit(1).executeTakeFirst()
        : query.where('version', '=', version).executeTakeFirst();
    });
    if (row !== undefined) return view(row);
    throw doesNotExist(
      `there is no schema ${JSON.stringify(name.slice(0, 200))}${version === undefined ? '' : ` of version ${version}`}; list them at /api/v1/data-schemas`,
    );
  }

  /** By name, then the latest version first; behind a place, and those of one name alone, if these are given. */
  async list({ name, after, limit }: SchemaPage): Promise<SchemaVersion[]> {
    const rows = await this.parts.database.read((db) => {
      const all = db.selectFrom('data_schemas').selectAll().orderBy('name').orderBy('version', 'desc').limit(limit);
      const query = name === undefined ? all : all.where('name', '=', name);
      if (after === undefined) return query.execute();
      return query
        .where((where) =>
          where.or([
            where('name', '>', after.name),
            where.and([where('name', '=', after.name), where('version', '<', after.version)]),
          ]),
        )
        .execute();
    });
    return rows.map(view);
  }

  /** What a dataset has against a schema. `training`: what its skew is measured against. */
  async validate(
    dataset: DatasetAt,
    schema: DataSchema,
    training: DatasetAt | undefined,
    by: Caller,
  ): Promise<{ version: number; rows: number; anomalies: Anomaly[] }> {
    const { version, rows } = await this.datasets.get(dataset.name, dataset.version, by);
    const profile = await this.datasets.profile(dataset.name, version, by);
    const reference =
      training === undefined ? undefined : await this.datasets.profile(training.name, training.version, by);
    return { version, rows, anomalies: findAnomalies(profile, schema, reference) };
  }
}

/** Throws invalid_argument with everything that is wrong. */
export function parseSchema(body: unknown): DataSchema {
  const { success, data, error } = dataSchema.safeParse(body);
  if (success) return data;
  throw invalidParameter(
    `the schema is not allowed: ${error.issues.map(({ path, message }) => `${path.join('.') || 'schema'}: ${message}`).join('; ')}`,
  );
}

function view(row: {
  name: string;
  version: number;
  body: string;
  dataset: string;
  actor: string;
  created_at: number;
}): SchemaVersion {
  const { body, created_at, ...rest } = row;
  return { ...rest, schema: JSON.parse(body) as DataSchema, createdAt: created_at };
}
