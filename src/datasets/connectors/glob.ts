import { invalidArgument } from '../../shared/errors.ts';

/** More files than that are no data set, but a mistake in the pattern. */
export const MAX_FILES = 10_000;
/** What braces may expand to. */
const MAX_ALTERNATIVES = 1000;

export interface Pattern {
  /** What every name begins with that fits: up to the last slash before what may differ. */
  prefix: string;
  /** Names have slashes between their parts, and begin with the prefix. */
  fits(name: string): boolean;
}

/** The pattern that a path or key is; undefined: it names one thing. Throws invalid_argument. */
export function patternOf(text: string): Pattern | undefined {
  const whole = text.endsWith('/') ? `${text}**` : text;
  const first = whole.search(/[*?[{]/);
  if (first < 0) return undefined;
  const prefix = whole.slice(0, whole.lastIndexOf('/', first) + 1);
  // Marks and half-written files of other programs; a pattern may name them.
  const hidden = /(^|\/)[._]/;
  const all = hidden.test(whole);
  const alternatives = expandBraces(whole, whole).map((one) => tokensOf(one, whole));
  return {
    prefix,
    fits: (name) =>
      name.startsWith(prefix) &&
      (all || !hidden.test(name.slice(prefix.length))) &&
      alternatives.some((tokens) => matches(tokens, name)),
  };
}

/** `{a,b}` and what is nested in it, written out. */
function expandBraces(text: string, whole: string): string[] {
  const open = text.indexOf('{');
  if (open < 0) return [text];
  const commas: number[] = [];
  let depth = 0;
  for (let at = open; at < text.length; at++) {
    if (text[at] === '{') depth++;
    else if (text[at] === ',' && depth === 1) commas.push(at);
    else if (text[at] === '}' && --depth === 0) {
      const edges = [open, ...commas, at];
      const choices = edges.slice(1).map((end, i) => text.slice(edges[i] + 1, end));
      const firsts = choices.flatMap((choice) => expandBraces(choice, whole));
      const rests = expandBraces(text.slice(at + 1), whole);
      if (firsts.length * rests.length > MAX_ALTERNATIVES)
        throw invalidArgument(
          `${shown(whole)}: its braces expand to more than ${MAX_ALTERNATIVES} patterns; use fewer`,
        );
      return firsts.flatMap((one) => rests.map((rest) => text.slice(0, open) + one + rest));
    }
  }
  throw unclosed(whole, '{');
}

/** What one place of a pattern takes: a character, any within a part, any at all, or whole folders. */
type Token = 'part' | 'rest' | 'folders' | ((char: string) => boolean);

/** `*` and `?` stay within a part, `**` goes through folders, `[a-c]` and `[!a-c]` choose. */
function tokensOf(text: string, whole: string): Token[] {
  const tokens: Token[] = [];
  const chars = [...text];
  for (let at = 0; at < chars.length; at++) {
    const char = chars[at];
    if (char === '*' && chars[at + 1] === '*') {
      const folders = chars[at + 2] === '/';
      tokens.push(folders ? 'folders' : 'rest');
      at += folders ? 2 : 1;
    } else if (char === '*') tokens.push('part');
    else if (char === '?') tokens.push((one) => one !== '/');
    else if (char === '[') {
      const end = chars.indexOf(']', at + 2);
      if (end < 0) throw unclosed(whole, '[');
      tokens.push(classOf(chars.slice(at + 1, end)));
      at = end;
    } else tokens.push((one) => one === char);
  }
  return tokens;
}

function classOf(chars: string[]): (char: string) => boolean {
  const negated = chars[0] === '!' || chars[0] === '^';
  const members = negated ? chars.slice(1) : chars;
  const ranges: [string, string][] = [];
  for (let at = 0; at < members.length; at++) {
    const ranged = members[at + 1] === '-' && at + 2 < members.length;
    ranges.push([members[at], members[ranged ? at + 2 : at]]);
    if (ranged) at += 2;
  }
  return (one) => one !== '/' && ranges.some(([low, high]) => one >= low && one <= high) !== negated;
}

/** All places of the pattern that the name may have reached, character by character: no name takes more than their product. */
function matches(tokens: readonly Token[], name: string): boolean {
  let reached = new Uint8Array(tokens.length + 1);
  reach(tokens, reached, 0);
  for (const char of name) {
    const next = new Uint8Array(tokens.length + 1);
    for (const [at, token] of tokens.entries()) {
      if (reached[at] === 0) continue;
      if (typeof token === 'function') {
        if (token(char)) reach(tokens, next, at + 1);
      } else if (token === 'folders') {
        next[at] = 1;
        if (char === '/') reach(tokens, next, at + 1);
      } else if (token === 'rest' || char !== '/') reach(tokens, next, at);
    }
    reached = next;
  }
  return reached[tokens.length] === 1;
}

/** A place, and those behind it that may stand for nothing. */
function reach(tokens: readonly Token[], places: Uint8Array, at: number): void {
  places[at] = 1;
  while (typeof tokens[at] === 'string') places[++at] = 1;
}

function unclosed(text: string, bracket: string): Error {
  return invalidArgument(`${shown(text)}: a "${bracket}" of the pattern is not closed; close it`);
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}
