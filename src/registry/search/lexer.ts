import { invalidParameter } from '../errors.ts';

/** Texts quoted with ' are values, those in ` or " are names: "double" may be a value, where a value must stand. */
export type TokenKind = 'word' | 'name' | 'double' | 'text' | 'number' | 'symbol' | 'end';

export interface Token {
  kind: TokenKind;
  /** Without its quotes. */
  text: string;
  /** Where it starts, counted from 1. */
  at: number;
}

const BLANK = /\s+/y;
const NUMBER = /[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?(?![\p{L}\p{N}_])/uy;
/** Unquoted names take what names of metrics and tags are usually made of; a dot joins a name to its entity. */
const WORD = /[\p{L}_][\p{L}\p{N}_\-/]*/uy;
/** Behind a dot a name may also start with a digit. */
const KEY = /[\p{L}\p{N}_][\p{L}\p{N}_\-/:]*(\.[\p{L}\p{N}_][\p{L}\p{N}_\-/:]*)*/uy;
const SYMBOL = /(>=|<=|!=|<>|[><=(),.])/y;
const CLOSING: Record<string, TokenKind> = { '`': 'name', '"': 'double', "'": 'text' };
const NAMES: ReadonlySet<TokenKind> = new Set(['word', 'name', 'double']);
const MAX_LENGTH = 20_000;

/** Cuts a filter into tokens. Throws invalid_argument with the position of what is no token. */
export function tokenize(source: string): Token[] {
  if (source.length > MAX_LENGTH)
    throw invalidParameter(`the filter has ${source.length} characters; at most ${MAX_LENGTH} are allowed`);
  const tokens: Token[] = [];
  let at = 0;
  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(source)?.[0];
    if (found !== undefined) at += found.length;
    return found;
  };
  const push = (kind: TokenKind, start: number, text: string): void => void tokens.push({ kind, text, at: start + 1 });
  while (at < source.length) {
    if (take(BLANK) !== undefined) continue;
    const start = at;
    const quote = source[at];
    const quoted = CLOSING[quote];
    if (quoted !== undefined) {
      const text = readQuoted(source, at, quote);
      at += text.length;
      push(quoted, start, text.slice(1, -1).replaceAll(quote + quote, quote));
      continue;
    }
    const afterDot = tokens.at(-1)?.text === '.' && tokens.at(-1)?.kind === 'symbol';
    const word = take(afterDot ? KEY : WORD);
    if (word !== undefined) {
      push('word', start, word);
      continue;
    }
    // ".5" is a number, but behind a name the dot belongs to the name.
    const dotted = source[at] === '.' && NAMES.has(tokens.at(-1)?.kind ?? 'end');
    const number = dotted ? undefined : take(NUMBER);
    if (number !== undefined) {
      push('number', start, number);
      continue;
    }
    const symbol = take(SYMBOL);
    if (symbol === undefined)
      throw invalidParameter(`Invalid filter: unexpected ${JSON.stringify(source[at])} at position ${at + 1}`);
    push('symbol', start, symbol === '<>' ? '!=' : symbol);
  }
  tokens.push({ kind: 'end', text: '', at: source.length + 1 });
  return tokens;
}

/** With its quotes; a doubled quote stands for itself. */
function readQuoted(source: string, from: number, quote: string): string {
  let end = from + 1;
  for (;;) {
    end = source.indexOf(quote, end);
    if (end < 0)
      throw invalidParameter(`Invalid filter: the ${quote} at position ${from + 1} is not closed by another ${quote}`);
    if (source[end + 1] !== quote) return source.slice(from, end + 1);
    end += 2;
  }
}
