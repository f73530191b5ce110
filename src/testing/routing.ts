import { parseRoutes } from '../config/load-routes.ts';
import { murmur3 } from '../routing/hash.ts';
import type { RequestView } from '../routing/matchers.ts';
import { compileRoutes } from '../routing/route-table.ts';
import { seeded } from './seeded.ts';

export interface Asked {
  model?: string;
  path?: string;
  tenant?: string;
  headers?: Record<string, string>;
  parameters?: Record<string, string>;
  inputs?: Record<string, string>;
}

/** A request as routing sees it; what is not said is empty. */
export function request({
  model = 'ranker',
  path = '',
  tenant = '',
  headers = {},
  parameters = {},
  inputs = {},
}: Asked): RequestView {
  return {
    model,
    path,
    tenant,
    header: (name) => headers[name],
    headerHash: (name, seed) => (headers[name] ? murmur3(headers[name], seed) : -1),
    parameter: (name) => parameters[name],
    input: (name) => inputs[name],
  };
}

/** A document of a route. */
export function route(name: string, spec: string): string {
  return `apiVersion: switchyard/v1\nkind: Route\nmetadata: {name: ${name}}\nspec:\n${spec.replace(/^/gm, '  ')}\n`;
}

/** The table of these documents. Throws ConfigError. */
export function compile(...documents: string[]) {
  return compileRoutes(parseRoutes([{ file: 'routes.yaml', text: documents.join('---\n') }]));
}

/** What deciding has besides the request: chance, and clocks that stand at `at`. */
export const around = (random = seeded(1), at = { now: 0, steadyClock: 0 }) => ({
  random,
  now: () => at.now,
  steadyClock: () => at.steadyClock,
});

/** A spec with two variants of one model. */
export const TWO = 'variants: {stable: {model: ranker, version: "1"}, next: {model: ranker, version: "2"}}';
