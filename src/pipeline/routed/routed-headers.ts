import type { CompiledRoute, RouteTable } from '../../routing/route-table.ts';
import type { RoutedHeaders } from '../types.ts';

const NONE: RoutedHeaders = { names: [], units: [] };

/** The headers that routes of a model may look at, so that the transports keep no others. Lower case. */
export function routedHeaders(table: RouteTable): (model: string) => RoutedHeaders {
  const others = headersOf(table.others);
  const byModel = new Map<string, RoutedHeaders>();
  for (const [model, routes] of table.byModel) byModel.set(model, headersOf(routes));
  return (model) => byModel.get(model) ?? others;
}

function headersOf(routes: readonly CompiledRoute[]): RoutedHeaders {
  const read = new Set<string>();
  const hashed = new Set<string>();
  for (const route of routes) {
    for (const matcher of [...route.matchers, ...route.overrides.map((override) => override.matcher)]) {
      for (const condition of matcher) if (condition.source === 'header') read.add(condition.name);
    }
    const units = route.overrides.some((override) => override.units !== undefined) ? read : hashed;
    for (const source of route.unitSources) {
      const name = source.header ?? source.metadata;
      if (name !== undefined) units.add(name);
      if (source.cookie !== undefined) read.add('cookie');
    }
    for (const name of route.spec.strategy.bandit?.context?.headers ?? []) read.add(name.toLowerCase());
  }
  const names = new Set([...read, ...hashed]);
  return names.size === 0 ? NONE : { names: [...names], units: [...hashed].filter((name) => !read.has(name)) };
}
