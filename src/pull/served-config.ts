import type { RawConfig } from '../models/config/map.ts';
import { CONFIG_FILES, readModelConfig } from '../models/config/read.ts';
import { SwitchyardError } from '../shared/errors.ts';

/** Where a version may bring a configuration along: its root, and where MLflow puts extra files. */
const PLACES: readonly string[] = CONFIG_FILES.flatMap((file) => [file, `extra_files/${file}`]);

/** What a configuration from the registry may say. Whoever may upload a model may not choose code, files or servers. */
const FIELDS = new Set([
  'name',
  'platform',
  'backend',
  'max_batch_size',
  'input',
  'output',
  'dynamic_batching',
  'instance_group',
  'optimization',
  'response_cache',
  'parameters',
  'version_policy',
]);
const PARAMETERS =
  /^(switchyard\.\w+|(intra|inter)_op_thread_count|execution_mode|execution_providers|graph_optimization_level|enable_mem_(pattern|arena))$/;

/** The file of a version that holds its configuration; undefined: it has none. */
export function configFileOf(paths: ReadonlySet<string>): string | undefined {
  return PLACES.find((path) => paths.has(path));
}

/**
 * The configuration a version is served with: its own, as far as a version may decide, and what this gateway decides.
 * Throws invalid_argument with the place of a mistake, or permission_denied for what it may not say.
 */
export function servedConfig(own: { text: string; file: string } | undefined, modelFile: string): RawConfig {
  const given = own === undefined ? {} : readModelConfig(own.text, own.file);
  for (const field of Object.keys(given)) {
    if (!FIELDS.has(field)) throw denied(own?.file ?? '', field);
  }
  const named = [given.backend, given.platform].filter((name) => name !== undefined && name !== '');
  if (named.some((name) => name !== 'onnxruntime' && name !== 'onnxruntime_onnx' && name !== 'onnx'))
    throw denied(own?.file ?? '', `backend ${JSON.stringify(named[0])}`);
  for (const key of Object.keys((given.parameters as object | undefined) ?? {}))
    if (!PARAMETERS.test(key)) throw denied(own?.file ?? '', `parameter ${JSON.stringify(key.slice(0, 100))}`);
  const { name: _, platform: __, version_policy: ___, ...kept } = given;
  return { ...kept, backend: 'onnxruntime', default_model_filename: modelFile, version_policy: { all: {} } };
}

function denied(file: string, what: string): SwitchyardError {
  return new SwitchyardError(
    'permission_denied',
    `${file} of the version sets ${what}; a version from a registry may set ${[...FIELDS].filter((field) => field !== 'version_policy').join(', ')} for ONNX Runtime`,
  );
}
