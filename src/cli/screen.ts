/** The cursor to the first place, and everything behind it away. */
const CLEAR = '\x1b[H\x1b[J';

/** Whether a person looks at it: what changes is drawn in place there, and told line by line in a pipe or a file. */
export function onTerminal(): boolean {
  return process.stdout.isTTY === true;
}

/** A view in place of the one before. */
export function redrawn(text: string): string {
  return CLEAR + text;
}
