import type { MigrationStatements } from '../migrations.ts';

/** Who moved which version from which stage to which, and when. Moves outlive the version, as those of aliases do. */
export const stageMoves: MigrationStatements = ({ serial, int64, text }) => [
  `CREATE TABLE stage_moves (
    move_key ${serial},
    model_key ${int64} NOT NULL, version ${int64} NOT NULL,
    stage ${text} NOT NULL, previous ${text} NOT NULL,
    at ${int64} NOT NULL, actor ${text} NOT NULL
  )`,
  'CREATE INDEX stage_moves_by_version ON stage_moves (model_key, version, move_key)',
];
