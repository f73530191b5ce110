import { isDeepStrictEqual } from 'node:util';
import type { RouteSet } from '../config/load-routes.ts';
import type { FallbackCause, RouteDocument, RouteSpec, UnitSource, VariantSpec } from '../config/route-schema.ts';
import type { BanditSpec } from '../config/strategy-schema.ts';
import { RetryBudget } from '../shared/retry-budget.ts';
import { saltSeed } from './buckets.ts';
import { newHealth, type RouteHealth } from './health.ts';
import { initialState, type LiveRoute, type RouteState, takeState } from './live-route.ts';
import { compileMatch, type Matcher, newShared, type RequestView, type Shared, sharedPart } from './matchers.ts';

export interface Variant extends VariantSpec {
  name: string;
}

interface Override {
  matcher: Matcher;
  /** Absent: any unit. */
  units: ReadonlySet<string> | undefined;
  variant: number;
  analysed: boolean;
}

/** A route with everything prepared that deciding needs. Immutable but for `live`, `health` and `retries`. */
export interface CompiledRoute {
  name: string;
  spec: RouteSpec;
  variants: Variant[];
  /** Of all variants, in their order. */
  names: readonly string[];
  /** Models that every entry of the match spells out; undefined: others may match too. */
  models: ReadonlySet<string> | undefined;
  /** Without the model, where there is just one: the table is looked up by it. */
  matchers: Matcher[];
  unitSources: UnitSource[];
  onMissing: NonNullable<RouteSpec['unit']>['onMissing'];
  seed: number;
  overrides: Override[];
  /** By variant: whom to ask instead, in order. */
  fallbacks: number[][];
  fallbackOn: ReadonlySet<FallbackCause>;
  shadowVariant: number;
  bandit: BanditSpec | undefined;
  live: LiveRoute;
  health: RouteHealth;
  retries: RetryBudget;
}

/** Routes by the model name they may match. The first in file order that matches wins. */
export interface RouteTable {
  routes: Map<string, CompiledRoute>;
  byModel: Map<string, CompiledRoute[]>;
  /** For model names that no route spells out. */
  others: CompiledRoute[];
}

/** What a new table takes over from before: published states by route, and the health of a thread's old table. */
export interface Restored {
  states?: ReadonlyMap<string, RouteState>;
  table?: RouteTable;
}

/** Compiles a whole configuration. Of what is restored, that which no longer fits its route is left out. */
export function compileRoutes({ routes }: Pick<RouteSet, 'routes'>, restored: Restored = {}): RouteTable {
  const shared = newShared();
  const compiled = routes.map((route) => compileRoute(route, restored, shared));
  const byModel = new Map<string, CompiledRoute[]>();
  for (const { models } of compiled) for (const model of models ?? []) byModel.set(model, []);
  for (const route of compiled) {
    for (const model of route.models ?? byModel.keys()) byModel.get(model)!.push(route);
  }
  return {
    routes: new Map(compiled.map((route) => [route.name, route])),
    byModel,
    others: compiled.filter(({ models }) => models === undefined),
  };
}

function compileRoute({ metadata, spec }: RouteDocument, restored: Restored, shared: Shared): CompiledRoute {
  const variants = Object.entries(spec.variants).map(([name, variant]) => ({ name, ...variant }));
  const index = (name: string) => variants.findIndex((variant) => variant.name === name);
  const names = variants.map(({ name }) => name);
  const state = restored.states?.get(metadata.name);
  const before = restored.table?.routes.get(metadata.name);
  const entries = spec.match ?? [{ model: { exact: metadata.name } }];
  const exact = entries.map(({ model }) => model?.exact);
  const models = exact.every((model) => model !== undefined) ? new Set(exact) : undefined;
  // A table that is looked up by the model need not compare it again.
  const anyModel = models?.size === 1;
  const described = anyModel ? entries.map(({ model: _, ...rest }) => rest) : entries;
  const { percent = 20, minConcurrency = 3 } = spec.resilience.retryBudget ?? {};
  const shadowed = spec.shadow?.variant ?? spec.strategy.canary?.candidate;
  return {
    name: metadata.name,
    spec,
    variants,
    names: sharedPart(shared, 'names', names, () => names),
    models,
    matchers: sharedPart(shared, 'match', [anyModel, described], () =>
      entries.map((entry) => compileMatch(entry, shared, anyModel)),
    ),
    unitSources: sharedPart(shared, 'unit', spec.unit?.from, () => spec.unit?.from ?? []),
    onMissing: spec.unit?.onMissing ?? 'random',
    seed: saltSeed(spec.unit?.salt ?? metadata.name),
    overrides: sharedPart(shared, 'overrides', [Object.keys(spec.variants), spec.overrides], () =>
      spec.overrides.map(({ variant, analysed, units, ...match }) => ({
        matcher: compileMatch(match, shared),
        units: units && new Set(units),
        variant: index(variant),
        analysed,
      })),
    ),
    fallbacks: variants.map((_, i) => fallbackChain(spec, variants, i).filter((next) => next !== i)),
    fallbackOn: new Set(spec.fallback.on),
    shadowVariant: shadowed === undefined ? -1 : index(shadowed),
    bandit: spec.strategy.bandit,
    live: takeState(spec, variants, state, shared) ?? takeState(spec, variants, initialState(spec), shared)!,
    health:
      before && sameVariants(before.variants, variants) && sameSettings(before.spec, spec, 'outlier', 'circuitBreaker')
        ? before.health
        : newHealth(spec.resilience, variants.length),
    retries:
      before && sameSettings(before.spec, spec, 'retryBudget')
        ? before.retries
        : new RetryBudget(percent / 100, minConcurrency),
  };
}

/** What was counted and decided under other settings means nothing under these. */
function sameSettings(a: RouteSpec, b: RouteSpec, ...names: (keyof RouteSpec['resilience'])[]): boolean {
  return names.every((name) => isDeepStrictEqual(a.resilience[name], b.resilience[name]));
}

function sameVariants(a: readonly Variant[], b: readonly Variant[]): boolean {
  return a.length === b.length && a.every(({ name, model }, i) => name === b[i].name && model === b[i].model);
}

/** Takes in a published state. False if it does not fit the route: the old one goes on. */
export function applyState(route: CompiledRoute, state: RouteState): boolean {
  const live = takeState(route.spec, route.variants, state, newShared());
  if (live !== undefined) route.live = live;
  return live !== undefined;
}

/** A variant's own chain, or else the route's order. */
function fallbackChain(spec: RouteSpec, variants: readonly Variant[], start: number): number[] {
  const index = (name: string) => variants.findIndex((variant) => variant.name === name);
  if (variants[start].fallback === undefined) return spec.fallback.order.map(index);
  const chain: number[] = [];
  let next: string | undefined = variants[start].fallback;
  while (next !== undefined) {
    const found = index(next);
    chain.push(found);
    next = variants[found].fallback;
  }
  return chain;
}

/** The routes that may match a request by its model, in their order. */
export function candidates(table: RouteTable, request: RequestView): readonly CompiledRoute[] {
  return table.byModel.get(request.model) ?? table.others;
}
