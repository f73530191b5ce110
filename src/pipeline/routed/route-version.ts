import { SwitchyardError } from '../../shared/errors.ts';

/** What registry aliases point to, by model and alias, as the control thread published it. */
export type AliasTable = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** The version to ask for; '' lets the version policy choose. Throws unavailable for an alias that points nowhere. */
export function versionOf(
  { model, version, alias }: { model: string; version?: string; alias?: string },
  aliases: AliasTable,
): string {
  if (alias === undefined) return version ?? '';
  const found = aliases.get(model)?.get(alias);
  if (found !== undefined) return found;
  throw new SwitchyardError('unavailable', `Alias '${alias}' of model '${model}' points to no version that is loaded`);
}
