import { createHash } from 'node:crypto';

/** The lines of a requirements file that mean something, as pip reads them. */
function meaningful(text: string): string[] {
  return text
    .split(/\r?\n/)
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '');
}

/** Why a requirements file may not be used; undefined: it may. */
export function requirementsProblem(text: string): string | undefined {
  if (/[\0\x01-\x08\x0b-\x1f\x7f]/.test(text.replaceAll('\r\n', '\n'))) return 'holds a control character';
  for (const line of meaningful(text)) {
    const shown = JSON.stringify(line.slice(0, 100));
    if (/^--hash=sha(256|384|512):[0-9a-f]+( \\)?$/.test(line)) continue;
    if (line.startsWith('-'))
      return `${shown} is an option of pip; options stand in training.environments.arguments of the server`;
    if (/\$\(|`/.test(line)) return `${shown} holds "$(" or "\`": no shell runs here`;
    if (/^[./~]|(^|[\s@])file:|^[A-Za-z]:\\/.test(line))
      return `${shown} is a path of the server; name a package, or bring its code in spec.files`;
  }
  return undefined;
}

export interface Interpreter {
  /** Program that makes the environment. */
  program: string;
  /** Such as "3.11.7 CPython". */
  version: string;
  /** Such as "linux-x86_64". */
  platform: string;
}

/** Names an environment by everything that decides what is in it. Order and comments do not. */
export function environmentKey(text: string, { version, platform }: Interpreter, options: readonly string[]): string {
  const lines = [...new Set(meaningful(text))];
  const sorted = lines.some((line) => line.endsWith('\\')) ? lines : lines.sort();
  return createHash('sha256')
    .update(JSON.stringify([sorted, version, platform, options]))
    .digest('hex')
    .slice(0, 32);
}
