/** As deep as JSON from outside may nest. */
export const MAX_JSON_DEPTH = 100;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/**
 * Whether a JSON text nests deeper than MAX_JSON_DEPTH. One pass without recursion: V8 parses any depth, but whatever
 * walks the value afterwards (a schema, JSON.stringify) would run out of stack. A text that is not JSON may be called
 * either.
 */
export function nestsTooDeeply(text: string): boolean {
  // Each level takes a bracket to open and one to close.
  if (text.length <= 2 * MAX_JSON_DEPTH) return false;
  // Most texts have too few of them, which is told much sooner.
  if (occurrences(text, '[') + occurrences(text, '{') <= MAX_JSON_DEPTH) return false;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) {
      for (i++; i < text.length && text.charCodeAt(i) !== QUOTE; i++) if (text.charCodeAt(i) === BACKSLASH) i++;
    } else if (c === 0x5b || c === 0x7b) {
      if (++depth > MAX_JSON_DEPTH) return true;
    } else if (c === 0x5d || c === 0x7d) depth--;
  }
  return false;
}

/** Up to MAX_JSON_DEPTH + 1 are counted. */
function occurrences(text: string, bracket: string): number {
  let count = 0;
  for (let at = text.indexOf(bracket); at >= 0 && count <= MAX_JSON_DEPTH; at = text.indexOf(bracket, at + 1)) count++;
  return count;
}
