import { invalidArgument, type SwitchyardError } from '../../shared/errors.ts';
import type { Position } from './tree.ts';

/** `string`: text is decoded. `word`: identifier. `number`: the literal without sign. `symbol`: one character. */
export interface Token extends Position {
  kind: 'word' | 'number' | 'string' | 'symbol' | 'end';
  text: string;
}

/** `file:line:column: message`, as every reader of configuration reports. Without lines only `file: message`. */
export function configError(file: string, at: Position, message: string): SwitchyardError {
  return invalidArgument(at.line > 0 ? `${file}:${at.line}:${at.column}: ${message}` : `${file}: ${message}`);
}

const WORD = /[A-Za-z_][A-Za-z0-9_]*/y;
const NUMBER = /0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?[fF]?/y;
const SPACE = /[ \t\r\n\f\v]+|#[^\n]*/y;
const SYMBOLS = '{}<>[]:;,-./';
const SIMPLE_ESCAPES: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  '?': 63,
  '\\': 92,
  "'": 39,
  '"': 34,
};
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Splits a text protobuf into tokens, the last of kind `end`. Throws invalid_argument with line and column. */
export function tokenize(source: string, file: string): Token[] {
  const tokens: Token[] = [];
  let offset = source.charCodeAt(0) === 0xfeff ? 1 : 0;
  let line = 1;
  let lineStart = offset;
  const position = (): Position => ({ line, column: offset - lineStart + 1 });
  const take = (pattern: RegExp): string => {
    pattern.lastIndex = offset;
    return pattern.exec(source)?.[0] ?? '';
  };
  while (true) {
    for (let space = take(SPACE); space !== ''; space = take(SPACE)) {
      for (let i = 0; i < space.length; i++) {
        if (space.charCodeAt(i) === 10) {
          line++;
          lineStart = offset + i + 1;
        }
      }
      offset += space.length;
    }
    const at = position();
    if (offset >= source.length) {
      tokens.push({ kind: 'end', text: '', ...at });
      return tokens;
    }
    const char = source[offset];
    const word = take(WORD);
    const number = word === '' ? take(NUMBER) : '';
    if (word !== '') {
      tokens.push({ kind: 'word', text: word, ...at });
      offset += word.length;
    } else if (number !== '') {
      offset += number.length;
      if (/[A-Za-z0-9_]/.test(source[offset] ?? ''))
        throw configError(file, at, `malformed number "${number}${source[offset]}"`);
      tokens.push({ kind: 'number', text: number, ...at });
    } else if (char === '"' || char === "'") {
      const { text, end } = readString(source, offset, file, at);
      tokens.push({ kind: 'string', text, ...at });
      offset = end;
    } else if (SYMBOLS.includes(char)) {
      tokens.push({ kind: 'symbol', text: char, ...at });
      offset++;
    } else {
      throw configError(file, at, `unexpected character ${JSON.stringify(char)}`);
    }
  }
}

/** Escapes name bytes, not characters, so the content is gathered as UTF-8 and decoded at the end. */
function readString(source: string, start: number, file: string, at: Position): { text: string; end: number } {
  const quote = source[start];
  const parts: Buffer[] = [];
  let offset = start + 1;
  let run = offset;
  const here = (): Position => ({ line: at.line, column: at.column + offset - start });
  while (true) {
    const char = source[offset];
    if (char === undefined || char === '\n') throw configError(file, at, 'string is not closed on its line');
    if (char !== quote && char !== '\\') {
      offset++;
      continue;
    }
    parts.push(Buffer.from(source.slice(run, offset), 'utf8'));
    if (char === quote) break;
    const rest = source.slice(offset + 1, offset + 10);
    const octal = /^[0-7]{1,3}/.exec(rest)?.[0];
    const hex = /^[xX]([0-9a-fA-F]{1,2})/.exec(rest);
    const unicode = /^(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/.exec(rest);
    const simple = SIMPLE_ESCAPES[rest[0]];
    if (octal !== undefined && Number.parseInt(octal, 8) < 256) {
      parts.push(Buffer.of(Number.parseInt(octal, 8)));
      offset += 1 + octal.length;
    } else if (hex) {
      parts.push(Buffer.of(Number.parseInt(hex[1], 16)));
      offset += 1 + hex[0].length;
    } else if (unicode) {
      const code = Number.parseInt(unicode[1] ?? unicode[2], 16);
      if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        throw configError(file, here(), `\\${unicode[0]} is not a Unicode character`);
      }
      parts.push(Buffer.from(String.fromCodePoint(code), 'utf8'));
      offset += 1 + unicode[0].length;
    } else if (simple !== undefined) {
      parts.push(Buffer.of(simple));
      offset += 2;
    } else {
      throw configError(file, here(), `unknown escape \\${rest[0] ?? ''} in a string`);
    }
    run = offset;
  }
  try {
    return { text: utf8.decode(Buffer.concat(parts)), end: offset + 1 };
  } catch {
    throw configError(file, at, 'string is not valid UTF-8 after its escapes');
  }
}
