import { type DataSchema, dataSchema } from '../../../config/data-schema.ts';
import type { RegistryDatabase } from '../../../registry/database/database.ts';
import { SwitchyardError } from '../../../shared/errors.ts';

/** A kept schema by "name" (its latest version) or "name/version". Throws failed_precondition where there is none. */
export async function keptSchema(
  database: RegistryDatabase,
  reference: string,
): Promise<{ name: string; version: number; schema: DataSchema }> {
  const [name, version] = reference.split('/');
  const row = await database.read((db) => {
    const query = db
      .selectFrom('data_schemas')
      .selectAll()
      .where('name', '=', name)
      .orderBy('version', 'desc')
      .limit(1);
    return (version === undefined ? query : query.where('version', '=', Number(version))).executeTakeFirst();
  });
  if (row !== undefined) return { name, version: row.version, schema: dataSchema.parse(JSON.parse(row.body)) };
  throw new SwitchyardError(
    'failed_precondition',
    `there is no kept schema ${JSON.stringify(reference)}; list them at /api/v1/data-schemas, or make it with switchyard datasets infer-schema`,
  );
}
