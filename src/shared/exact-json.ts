/** JSON whose whole numbers beyond 2^53 keep their digits, which JSON.parse rounds. */

/** Texts and numbers of a JSON text, one at a time, with the colon of what is a name. */
const TOKENS = /(?:"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)(\s*:)?/g;
const WIDE = /^-?[1-9]\d{15,}$/;
/** There may be one. Digits behind a point are none: most floats have as many. */
const MAYBE_WIDE = /(?<![\d.])[1-9]\d{15,}(?![\d.eE])/;
/** Before digits that are a number; texts that begin so get another one. */
const MARK = '\\u0000';

const isWide = (token: string): boolean => WIDE.test(token) && !Number.isSafeInteger(Number(token));

/** They become texts of their digits. Throws SyntaxError. */
export function parseExact(text: string): unknown {
  if (!MAYBE_WIDE.test(text)) return JSON.parse(text);
  return JSON.parse(text.replace(TOKENS, (token) => (isWide(token) ? `"${token}"` : token)));
}

/** They become bigints. Throws SyntaxError. */
export function parseBig(text: string): unknown {
  if (!MAYBE_WIDE.test(text)) return JSON.parse(text);
  const marked = text.replace(TOKENS, (token: string, colon: string | undefined) => {
    if (isWide(token)) return `"${MARK}${token}"`;
    return colon === undefined && token.startsWith(`"${MARK}`) ? `"${MARK}${token.slice(1)}` : token;
  });
  return JSON.parse(marked, (_, value: unknown) => {
    if (typeof value !== 'string' || value.charCodeAt(0) !== 0) return value;
    return value.charCodeAt(1) === 0 ? value.slice(1) : BigInt(value.slice(1));
  });
}

/** The way back: bigints are written as their digits. What JSON does not know is null. */
export function exactText(value: unknown): string {
  let wide = false;
  const text = JSON.stringify(value, (_, item: unknown) => {
    if (typeof item !== 'bigint') return item;
    wide = true;
    return null;
  });
  if (!wide) return text ?? 'null';
  if (typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return `[${value.map(exactText).join(',')}]`;
  const entries = Object.entries(value as object).filter(([, item]) => item !== undefined);
  return `{${entries.map(([name, item]) => `${JSON.stringify(name)}:${exactText(item)}`).join(',')}}`;
}
