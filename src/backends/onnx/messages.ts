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
  return text
    .replace(/\/onnxruntime_src\/\S+?:\d+ .*?(?=\[ONNXRuntimeError\]|Missing|$)/gm, '')
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
  const provider = /AppendExecutionProvider_(Cuda|TensorRT): Failed to load/.exec(raw)?.[1];
  if (provider !== undefined) {
    return new SwitchyardError(
      'failed_precondition',
      `${head}the ${provider} provider is not installed; put libonnxruntime_providers_${provider.toLowerCase()}.so of ` +
        'ONNX Runtime 1.30 beside its library (npm rebuild onnxruntime-node with onnxruntime-node-install unset), or use cpu',
      { cause: error },
    );
  }
  return new SwitchyardError('failed_precondition', head + cleanMessage(raw, folders), { cause: error });
}
