import { parsePbtxt } from '../pbtxt/parse.ts';
import { mapModelConfig, type RawConfig } from './map.ts';
import { parseJsonConfig, parseYaml } from './yaml.ts';

/** Names a model's configuration file may have; the first one present is read. */
export const CONFIG_FILES: readonly string[] = ['config.pbtxt', 'config.yaml', 'config.yml'];

/**
 * Reads a configuration in the form its name tells (`.pbtxt`, `.yaml`/`.yml`, `.json`) into Triton's ModelConfig with
 * snake_case names, holding only what was given. `file` is shown in errors, so pass `<model>/config.pbtxt`, not a path
 * of the machine. Throws invalid_argument with file, line and column.
 */
export function readModelConfig(source: string, file: string): RawConfig {
  if (file.endsWith('.pbtxt')) return mapModelConfig(parsePbtxt(source, file), file, 'pbtxt');
  if (file.endsWith('.json')) return mapModelConfig(parseJsonConfig(source, file), file, 'json');
  return mapModelConfig(parseYaml(source, file), file, 'json');
}
