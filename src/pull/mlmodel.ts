import { parseDocument } from 'yaml';
import { SwitchyardError } from '../shared/errors.ts';

export const MLMODEL_FILE = 'MLmodel';
const MAX_BYTES = 1024 * 1024;
const MAX_ALIASES = 100;

/** Where the ONNX file of a version is, relative to its root. Throws failed_precondition when it is no ONNX model. */
export function onnxFileOf(paths: ReadonlySet<string>, mlmodel: string | undefined): string {
  const path = mlmodel === undefined ? soleOnnx(paths) : flavourFile(mlmodel);
  if (paths.has(path)) return path;
  throw refused(`its MLmodel file names ${JSON.stringify(path.slice(0, 200))}, which is not part of the version`);
}

function soleOnnx(paths: ReadonlySet<string>): string {
  const found = [...paths].filter((path) => path.endsWith('.onnx'));
  if (found.includes('model.onnx')) return 'model.onnx';
  if (found.length === 1) return found[0];
  throw refused(
    found.length === 0
      ? 'it has neither an MLmodel file nor a .onnx file'
      : `it has no MLmodel file and ${found.length} .onnx files, none of them model.onnx`,
  );
}

function flavourFile(text: string): string {
  if (text.length > MAX_BYTES) throw refused(`its MLmodel file has more than ${MAX_BYTES} bytes`);
  const document = parseDocument(text, { schema: 'core', uniqueKeys: true });
  if (document.errors.length > 0) throw refused('its MLmodel file is not YAML');
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch {
    throw refused('its MLmodel file expands too far');
  }
  const flavours = member(content, 'flavors');
  const onnx = member(flavours, 'onnx');
  if (onnx === undefined) {
    const names = typeof flavours === 'object' && flavours !== null ? Object.keys(flavours).join(', ') : 'none';
    throw refused(
      `its flavors are ${names.slice(0, 200)}; only onnx is served, pickled code is never loaded. Log it with mlflow.onnx`,
    );
  }
  const data = member(onnx, 'data');
  return typeof data === 'string' ? data.replace(/^\.\//, '') : 'model.onnx';
}

function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}

function refused(problem: string): SwitchyardError {
  return new SwitchyardError('failed_precondition', `the version cannot be served: ${problem}`);
}
