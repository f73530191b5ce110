import { isAbsolute, sep } from 'node:path';
import { invalidArgument } from '../../shared/errors.ts';

const RESERVED = new Set(['constructor', 'prototype']);

/** Names a model may have: they become keys, metric labels and folder names. */
export function isSafeName(name: string): boolean {
  return /^[A-Za-z0-9][\w.-]{0,127}$/.test(name) && !RESERVED.has(name);
}

/** Throws invalid_argument unless `name` is a safe model name. */
export function checkModelName(name: string): void {
  if (isSafeName(name)) return;
  throw invalidArgument(
    `model name ${JSON.stringify(name.slice(0, 140))} is not allowed: use 1 to 128 letters, digits, "_", "." and "-", starting with a letter or digit`,
  );
}

/** True for a relative path of plain parts: no "..", no empty part, no backslash, no control character. */
export function isSafeRelativePath(path: string): boolean {
  if (path.length === 0 || path.length > 512 || isAbsolute(path) || /[\\\0-\x1f\x7f]/.test(path)) return false;
  return path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
}

/** True when the real path `inner` is `outer` or lies below it. */
export function isInside(outer: string, inner: string): boolean {
  return inner === outer || inner.startsWith(outer.endsWith(sep) ? outer : outer + sep);
}
