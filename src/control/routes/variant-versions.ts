import type { RouteSpec } from '../../config/route-schema.ts';
import type { ServingTable } from '../../pipeline/types.ts';

/**
 * The version that each variant of a route is served by: what its alias means, the version it names if that is loaded, or
 * the newest one loaded. '' = none.
 */
export function variantVersions(
  { variants }: Pick<RouteSpec, 'variants'>,
  models: ServingTable['models'],
  aliased: (model: string, alias: string) => string,
): Record<string, string> {
  const versionOf = ({ model, version, alias }: { model: string; version?: string; alias?: string }): string => {
    if (alias !== undefined) return aliased(model, alias);
    const loaded = models.get(model)?.versions.map((entry) => entry.version) ?? [];
    if (version !== undefined) return loaded.includes(version) ? version : '';
    return loaded.reduce((newest, next) => (Number(next) > Number(newest) ? next : newest), '');
  };
  return Object.fromEntries(Object.entries(variants).map(([name, variant]) => [name, versionOf(variant)]));
}
