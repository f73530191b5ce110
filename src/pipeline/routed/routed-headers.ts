import type { CompiledRoute, RouteTable } from '../../routing/route-table.ts';

const NONE: readonly string[] = [];

/** The headers that routes of a model may look at, so that the transports keep no others. Lower case. */
export function routedHeaders(table: RouteTable): (model: string) => readonly string[] {
  const others = namesOf(table.others);
  const byModel = new Map<string, readonly string[]>();
  for (const [model, routes] of table.byModel) byModel.set(model, namesOf(routes));
  return (model) => byModel.get(model) ?? others;
}

function namesOf(routes: readonly CompiledRoute[]): readonly string[] {
  const names = new Set<string>();
  for (const route of routes) {
    for (const matcher of [...route.matchers, ...route.overrides.map((override) => override.matcher)]) {
      for (const condition of matcher) if (condition.source === 'header') names.add(condition.name);
    }
    for (const source of route.unitSources) {
      if (source.header !== undefined) names.add(source.header);
      if (source.metadata !== undefined) names.add(source.metadata);
      if (source.cookie !== undefined) names.add('cookie');
    }
    for (const name of route.spec.strategy.bandit?.context?.headers ?? []) names.add(name.toLowerCase());
  }
  return names.size === 0 ? NONE : [...names];
}
