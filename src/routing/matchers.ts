import type { Match, TextMatch } from '../config/match-schema.ts';
import { compilePattern, type Pattern } from '../config/pattern.ts';

/**
 * What routing sees of a request. The data plane implements it over what it has decoded; nothing is read that no route
 * asks for.
 */
export interface RequestView {
  readonly model: string;
  /** HTTP path or full gRPC method. */
  readonly path: string;
  readonly tenant: string;
  /** By lower-case name: an HTTP header or gRPC metadata. */
  header(name: string): string | undefined;
  /** murmur3 of a header's value; −1: it is absent or empty. */
  headerHash(name: string, seed: number): number;
  /** A request parameter, as text. */
  parameter(name: string): string | undefined;
  /** The first element of an input tensor, as text. */
  input(name: string): string | undefined;
}

type Source = 'model' | 'path' | 'tenant' | 'header' | 'parameter';

interface Condition {
  source: Source;
  name: string;
  exact: string | undefined;
  prefix: string | undefined;
  pattern: Pattern | undefined;
  present: boolean;
}

/** All conditions must hold. */
export type Matcher = readonly Condition[];

/**
 * Shares what routes have in common. A thousand routes mostly repeat the same matches, units and overrides: one copy
 * stays in the processor's cache, where a thousand do not, and that is most of what deciding costs.
 */
export interface Shared {
  texts: Map<string, string>;
  patterns: Map<string, Pattern>;
  parts: Map<string, unknown>;
}

/** For one set of routes that are compiled together. */
export function newShared(): Shared {
  return { texts: new Map(), patterns: new Map(), parts: new Map() };
}

/** The part made before from the same plain description, or else made now. */
export function sharedPart<T>(shared: Shared, kind: string, description: unknown, make: () => T): T {
  const key = `${kind} ${JSON.stringify(description)}`;
  if (!shared.parts.has(key)) shared.parts.set(key, make());
  return shared.parts.get(key) as T;
}

/** Names are compared by identity first. */
export function sharedText(shared: Shared, text: string): string {
  const known = shared.texts.get(text);
  if (known !== undefined) return known;
  shared.texts.set(text, text);
  return text;
}

function sharedPattern(shared: Shared, source: string): Pattern {
  const pattern = shared.patterns.get(source) ?? compilePattern(source);
  shared.patterns.set(source, pattern);
  return pattern;
}

/** The conditions of one entry, without that on the model if `anyModel`. */
export function compileMatch(match: Match, shared: Shared, anyModel = false): Matcher {
  const conditions: Condition[] = [];
  const add = (source: Source, name: string, text: TextMatch | undefined) => {
    if (text === undefined) return;
    conditions.push({
      source,
      name: sharedText(shared, name),
      exact: text.exact === undefined ? undefined : sharedText(shared, text.exact),
      prefix: text.prefix,
      pattern: text.regex === undefined ? undefined : sharedPattern(shared, text.regex),
      present: text.present ?? true,
    });
  };
  if (!anyModel) add('model', '', match.model);
  add('tenant', '', match.tenant);
  add('path', '', match.path);
  for (const [name, text] of Object.entries(match.headers ?? {})) add('header', name, text);
  for (const [name, text] of Object.entries(match.metadata ?? {})) add('header', name, text);
  for (const [name, text] of Object.entries(match.parameters ?? {})) add('parameter', name, text);
  return conditions;
}

/** Whether all conditions hold; true for a matcher without any. */
export function matches(matcher: Matcher, request: RequestView): boolean {
  for (let i = 0; i < matcher.length; i++) if (!holds(matcher[i], request)) return false;
  return true;
}

function holds(condition: Condition, request: RequestView): boolean {
  const value = read(condition, request);
  if (value === undefined) return !condition.present;
  if (condition.exact !== undefined) return value === condition.exact;
  if (condition.prefix !== undefined) return value.startsWith(condition.prefix);
  if (condition.pattern !== undefined) return condition.pattern.test(value);
  return condition.present;
}

function read({ source, name }: Condition, request: RequestView): string | undefined {
  switch (source) {
    case 'model':
      return request.model;
    case 'path':
      return request.path;
    case 'tenant':
      return request.tenant;
    case 'header':
      return request.header(name);
    case 'parameter':
      return request.parameter(name);
  }
}
