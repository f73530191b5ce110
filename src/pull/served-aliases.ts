import type { RouteAliasSource } from '../registry/routes/route-aliases.ts';

/**
 * A registry's aliases by the names that models are served under, which are what routes know. A model that is not followed
 * under another name keeps its own.
 */
export function servedAliases(
  source: RouteAliasSource,
  follow: readonly { name: string; served?: string }[],
): RouteAliasSource {
  const names = new Map(follow.map(({ name, served = name }) => [served, name]));
  const registered = (served: string): string => names.get(served) ?? served;
  return {
    read: async (models) => {
      const found = await source.read([...new Set(models.map(registered))]);
      return new Map(
        models.flatMap((served) => {
          const aliases = found.get(registered(served));
          return aliases === undefined ? [] : [[served, aliases] as const];
        }),
      );
    },
    move: (model, ...wish) => source.move(registered(model), ...wish),
  };
}
