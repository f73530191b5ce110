import type { MigrationStatements } from '../migrations.ts';

/**
 * Names that models had and left, by deletion or another name, with the number from which the next model of that name
 * counts its versions. Of names that were left before, the history of aliases tells what numbers they had.
 */
export const leftModelNames: MigrationStatements = ({ int64, text }) => [
  `CREATE TABLE left_model_names (
    name ${text} NOT NULL PRIMARY KEY,
    next_version ${int64} NOT NULL
  )`,
  `INSERT INTO left_model_names (name, next_version)
    SELECT name, 1 + max(coalesce(version, previous)) FROM alias_moves GROUP BY name`,
];
