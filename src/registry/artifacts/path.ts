import { invalidParameter, shown } from '../errors.ts';

export const MAX_PATH_BYTES = 1024;
const MAX_PART_BYTES = 255;
/** Windows opens a device for these, whatever folder and extension stand around them. */
const DEVICE = /^(con|prn|aux|nul|com[0-9\u00b9\u00b2\u00b3]|lpt[0-9\u00b9\u00b2\u00b3]|conin\$|conout\$)(\.|$)/i;

/**
 * The path, if it is one that an artifact may have: parts joined by "/", none of which means anything to a file system.
 * Paths name rows, never files of the server. But clients make files of them, on systems we do not know, and may decode
 * them once more; so every decoding must be harmless too.
 */
export function checkArtifactPath(path: string): string {
  let text = path;
  for (let round = 0; ; round++) {
    const problem = problemOf(text);
    if (problem !== undefined) throw refused(path, problem);
    if (!/%[0-9a-f]{2}/i.test(text)) return path;
    if (round === 4) throw refused(path, 'it is percent-encoded too often');
    text = text.replace(/%[0-9a-f]{2}/gi, (code) => String.fromCharCode(Number.parseInt(code.slice(1), 16)));
  }
}

function problemOf(path: string): string | undefined {
  if (path === '') return 'it is empty';
  if (Buffer.byteLength(path) > MAX_PATH_BYTES) return `it is longer than ${MAX_PATH_BYTES} bytes`;
  if (path.startsWith('/')) return 'it is absolute';
  if (/[\0-\x1f\x7f]/.test(path)) return 'it holds a control character';
  if (/[\\#]/.test(path)) return 'it holds "\\" or "#"';
  if (/\p{Surrogate}/u.test(path)) return 'it is not valid Unicode';
  if (/^[A-Za-z]:/.test(path)) return 'it begins with a drive letter';
  if (/^[A-Za-z][A-Za-z0-9+.-]*:\//.test(path)) return 'it is a URI';
  for (const part of path.split('/')) {
    if (part === '') return 'it has an empty part';
    if (part === '.' || part === '..') return `it has the part "${part}"`;
    if (Buffer.byteLength(part) > MAX_PART_BYTES) return `it has a part longer than ${MAX_PART_BYTES} bytes`;
    if (/[. ]$/.test(part)) return 'a part ends in a dot or a space';
    if (DEVICE.test(part)) return `${JSON.stringify(part)} is a device on Windows`;
  }
  return undefined;
}

function refused(path: string, problem: string): Error {
  return invalidParameter(
    `Invalid path ${shown(path)}: ${problem}; use relative parts joined by "/", at most ${MAX_PATH_BYTES} bytes`,
  );
}

/** What an artifact belongs to, and lives as long as. */
export type ArtifactRoot = { kind: 'run' | 'model' | 'import'; id: string } | { kind: 'other' };

/** Folder of the files that imports of versions bring, each import's below an id of its own. */
export const IMPORTS = 'imports/';
const IMPORT = /^imports\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\/artifacts\//;

/** Reads the owner out of `…/<run id>/artifacts/…`, `…/models/<model id>/artifacts/…` or `imports/<id>/artifacts/…`. */
export function rootOf(path: string): ArtifactRoot {
  const imported = IMPORT.exec(path);
  if (imported !== null) return { kind: 'import', id: imported[1] };
  const parts = path.split('/');
  for (let i = 1; i < parts.length; i++) {
    if (parts[i] !== 'artifacts') continue;
    if (/^m-[0-9a-f]{32}$/.test(parts[i - 1])) return { kind: 'model', id: parts[i - 1] };
    if (/^[0-9a-f]{32}$/.test(parts[i - 1])) return { kind: 'run', id: parts[i - 1] };
  }
  return { kind: 'other' };
}

/** The artifact path of an `mlflow-artifacts:/…` URI; undefined for any other URI. Throws for an unsafe path. */
export function pathOfUri(uri: string): string | undefined {
  const match = /^mlflow-artifacts:(?:\/\/[^/]*)?\/+(.*?)\/*$/s.exec(uri);
  return match === null ? undefined : checkArtifactPath(match[1]);
}
