import { basename } from 'node:path';
import { SwitchyardError } from '../../shared/errors.ts';

/** Runtime complaints that are about the caller's tensors, not about the model. */
const CALLERS_FAULT = /^(Got invalid dimensions|Invalid rank|Unexpected input data type|not enough space)/;

/**
 * ONNX Runtime's message fit for a client: no paths of this machine or of the build machine, one line.
 * @param folders absolute folders to leave out
 */
export function cleanMessage(message: string, folders: readonly string[]): string {
  let text = message;
  for (const folder of folders) {
    if (folder !== '') text = text.replaceAll(`${folder}/`, '').replaceAll(folder, '.');
  }
  const told = text.replace(/\/onnxruntime_src\/\S+?:\d+ .*?(?=\[ONNXRuntimeError\]|Missing|$)/gm, '');
  // Some messages are nothing but the place in the source and what was wrong there.
  return (told.trim() === '' ? text : told)
    .replace(/(?<![\w.])\/(?:[\w.+@-]+\/)+([\w.+@-]+)/g, '$1')
    .replace(/\s+/g, ' ')
    .trim();
}

/** A failed run as our error: the caller's fault or the model's. */
export function runError(model: string, error: unknown): SwitchyardError {
  const text = cleanMessage(error instanceof Error ? error.message : String(error), []);
  const code = CALLERS_FAULT.test(text) ? 'invalid_argument' : 'internal';
  return new SwitchyardError(code, `model "${model}": ${text}`, { cause: error });
}

/** A failed load as our error, with the remedy where the cause is a missing GPU library. */
export function loadError(
  model: string,
  version: string,
  file: string,
  folders: readonly string[],
  error: unknown,
): SwitchyardError {
  const raw = error instanceof Error ? error.message : String(error);
  const head = `model "${model}" version ${version} was not loaded: ${file}: `;
  const problem = providerProblem(raw);
  if (problem !== undefined) return new SwitchyardError('failed_precondition', head + problem, { cause: error });
  return new SwitchyardError('failed_precondition', head + cleanMessage(raw, folders), { cause: error });
}

/** What keeps a GPU provider from being loaded, with the remedy; undefined where it is something else. */
function providerProblem(raw: string): string | undefined {
  const named = /AppendExecutionProvider_(Cuda|TensorRT): Failed to load/.exec(raw)?.[1];
  // "Failed to load library FILE with error: WHAT: cannot open …": WHAT is the file, or a library that it needs.
  const [, file, what] = /Failed to load library (\S+) with error: ([^\s:]+)/.exec(raw) ?? [];
  if (named === undefined && file === undefined) return undefined;
  const lacking = what === undefined || basename(what) === basename(file) ? undefined : basename(what);
  if (lacking !== undefined)
    return `${basename(file)} needs ${lacking}, which is not found; switchyard doctor --gpu says where to get it`;
  const provider = /tensorrt/i.test(`${named} ${file}`) ? 'TensorRT' : 'Cuda';
  return (
    `the ${provider} provider is not installed; install onnxruntime-gpu of the very version of ONNX Runtime in use and ` +
    'name it in models.cuda.providerLibrary, or use the CPU (switchyard doctor --gpu says more)'
  );
}
