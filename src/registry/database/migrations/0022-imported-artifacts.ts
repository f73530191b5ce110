import type { MigrationStatements } from '../migrations.ts';

const HEX = '[0-9a-f]';
const ID = [8, 4, 4, 4, 12];
const IS_IMPORTED = {
  sqlite: `path GLOB 'imports/${ID.map((digits) => HEX.repeat(digits)).join('-')}/artifacts/*'`,
  postgres: `path ~ '^imports/${ID.map((digits) => `${HEX}{${digits}}`).join('-')}/artifacts/'`,
};

/** Files that imports of versions brought: they belong to their import from now on, so that they are collected with it. */
export const importedArtifacts: MigrationStatements = ({ kind }) => [
  `UPDATE artifacts SET root_kind = 'import', root_id = substr(path, 9, 36) WHERE ${IS_IMPORTED[kind]}`,
];
