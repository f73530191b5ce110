import { z } from 'zod';

/**
 * Texts of job documents reach command lines, file names, environments and Kubernetes objects. No shell is between, yet
 * what only means something to a shell, or would be taken for an option, is refused: it is an attack or a mistake.
 */

const CONTROL = /[\0-\x1f\x7f]/;
const SUBSTITUTION = /\$\(|`/;

/** Why a text may not be an argument; undefined: it may. Arguments begin with dashes as they like. */
export function argumentProblem(text: string): string | undefined {
  if (text.includes('\0')) return 'holds a NUL character';
  if (/[\r\n]/.test(text)) return 'holds a line break; put a text of several lines into spec.files and name the file';
  if (text.includes('$('))
    return `holds "$(": no shell runs here and Kubernetes would expand it; give the value itself`;
  return undefined;
}

/** As argumentProblem, for what is looked up: programs, images, interpreters. */
export function programProblem(text: string): string | undefined {
  if (text.trim() === '') return 'is empty';
  if (text.startsWith('-')) return 'begins with a dash, so that it would be taken for an option';
  if (CONTROL.test(text)) return 'holds a control character';
  if (SUBSTITUTION.test(text)) return 'holds "$(" or "`": no shell runs here, so nothing is expanded';
  return undefined;
}

/** Why a relative path may not be used inside the work folder; undefined: it may. */
export function pathProblem(path: string): string | undefined {
  const problem = programProblem(path);
  if (problem !== undefined) return problem;
  if (path.length > 1024) return 'is longer than 1024 characters';
  if (path.startsWith('/') || /^[A-Za-z]:/.test(path)) return 'is absolute; give a path inside the work folder';
  if (path.includes('\\')) return 'holds "\\"; parts are joined by "/"';
  for (const part of path.split('/')) {
    if (part === '' || part === '.' || part === '..')
      return `has the part ${JSON.stringify(part)}; it must stay inside the work folder`;
    if (part.startsWith('-')) return `has the part ${JSON.stringify(part)}, which begins with a dash`;
  }
  return undefined;
}

/** Variables with which a job would change how programs start before its command does, and those that are the server's. */
const REFUSED_NAMES = [
  /^LD_/,
  /^DYLD_/,
  /^NODE_OPTIONS$/,
  /^NODE_PATH$/,
  /^PYTHON(STARTUP|HOME|INSPECT|EXECUTABLE|USERBASE|BREAKPOINT)$/,
  /^(BASH_ENV|ENV|SHELLOPTS|BASHOPTS|PS4|PROMPT_COMMAND|IFS|CDPATH|GLOBIGNORE)$/,
  /^BASH_FUNC_/,
  /^PERL5?(OPT|LIB|DB)$/,
  /^RUBY(OPT|LIB)$/,
  /^_?JAVA_(TOOL_)?OPTIONS$/,
  /^JDK_JAVA_OPTIONS$/,
  /^GCONV_PATH$/,
  /^GIT_(SSH|SSH_COMMAND|EXEC_PATH|EXTERNAL_DIFF)$/,
  /^(PATH|HOME|TMPDIR|VIRTUAL_ENV)$/,
];
const OWN_NAMES = /^(SWITCHYARD_|MLFLOW_(TRACKING_|RUN_ID$|EXPERIMENT_ID$))/;
const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,127}$/;

/** Why a job may not set a variable; undefined: it may. */
export function variableProblem(name: string): string | undefined {
  if (!NAME.test(name)) return 'is no name of a variable; use letters, digits and "_"';
  if (REFUSED_NAMES.some((pattern) => pattern.test(name)))
    return 'is refused: it changes how programs start; leave it out';
  if (OWN_NAMES.test(name)) return 'is refused: the server sets it for every job';
  return undefined;
}

/** Settings of pods with which a job would reach its machine. */
const MACHINE_KEYS = new Set([
  'hostPath',
  'hostNetwork',
  'hostPID',
  'hostIPC',
  'privileged',
  'securityContext',
  'serviceAccountName',
  'allowPrivilegeEscalation',
  'capabilities',
  'volumes',
  'volumeMounts',
  'podTemplate',
]);

/** Paths of such settings, wherever they stand. */
export function machineSettings(value: unknown, path: readonly PropertyKey[] = []): PropertyKey[][] {
  if (typeof value !== 'object' || value === null || path.length > 32) return [];
  return Object.entries(value).flatMap(([key, inner]) => {
    const here = [...path, Array.isArray(value) ? Number(key) : key];
    const own = !Array.isArray(value) && MACHINE_KEYS.has(key) ? [here] : [];
    return [...own, ...machineSettings(inner, here)];
  });
}

/** A text of which `problem` tells what is wrong with it. */
export function ruled(problem: (text: string) => string | undefined, hint: string) {
  return z.string(hint).superRefine((text, context) => {
    const found = problem(text);
    if (found !== undefined)
      context.addIssue({ code: 'custom', message: `${JSON.stringify(text.slice(0, 100))} ${found}` });
  });
}
