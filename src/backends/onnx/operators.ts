import { realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, sep } from 'node:path';
import { SwitchyardError } from '../../shared/errors.ts';
import type { LoadSpec } from '../backend.ts';

/**
 * Absolute paths of the libraries of custom operators that a model names (Triton's `model_operations`), each in its
 * version's folder or in the model's. They are code: whoever may write there may run it.
 * @throws SwitchyardError failed_precondition for one that is missing, no file, or outside the model's folder
 */
export async function operatorLibraries(spec: LoadSpec): Promise<string[]> {
  const operations = spec.config.raw.model_operations as { op_library_filename?: string[] } | undefined;
  return Promise.all((operations?.op_library_filename ?? []).map((name) => locate(spec, name)));
}

async function locate(spec: LoadSpec, name: string): Promise<string> {
  const { directory, modelDirectory } = spec;
  const root = await realpath(modelDirectory === '' ? directory : modelDirectory);
  const folders = isAbsolute(name) ? [''] : [directory, modelDirectory].filter((folder) => folder !== '');
  for (const folder of folders) {
    const path = await realpath(join(folder, name)).catch(() => undefined);
    if (path === undefined) continue;
    if (!path.startsWith(root + sep)) throw refused(spec, name, "lies outside the model's folder; copy it there");
    if (!(await stat(path)).isFile()) throw refused(spec, name, 'is not a regular file');
    return path;
  }
  throw refused(spec, name, "is not there; put it into the version's folder or the model's");
}

function refused({ model, version }: LoadSpec, name: string, why: string): SwitchyardError {
  const library = `its library of operators ${JSON.stringify(name.slice(0, 200))}`;
  return new SwitchyardError(
    'failed_precondition',
    `model "${model}" version ${version} was not loaded: ${library} ${why}`,
  );
}
