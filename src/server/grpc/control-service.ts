import { repositoryIndexBody } from '../../protocol/v2/metadata.ts';
import { invalidArgument } from '../../shared/errors.ts';
import type { GatewayServices } from '../services.ts';
import { type Access, guard, type Handlers } from './guarded.ts';

interface RepositoryParameter {
  parameter_choice?: 'bool_param' | 'int64_param' | 'string_param' | 'bytes_param';
  bool_param?: boolean;
  string_param?: string;
  bytes_param?: Buffer;
}

interface LoadRequest {
  model_name: string;
  parameters: Record<string, RepositoryParameter>;
}

interface LogValue {
  parameter_choice?: 'bool_param' | 'uint32_param' | 'string_param';
  bool_param?: boolean;
  uint32_param?: number;
  string_param?: string;
}

interface TraceValue {
  value: string[];
}

const FILE_PREFIX = 'file:';

/** Repository, trace and log methods of GRPCInferenceService: what the control thread answers. */
export function controlHandlers(services: GatewayServices): Handlers {
  const { control } = services;
  const changes = <T>(handler: (request: T) => unknown) => guard<T>(services, 'control', handler);
  return {
    RepositoryIndex: guard<{ ready: boolean }>(services, 'caller', async (request) => ({
      models: repositoryIndexBody(await control.repositoryIndex(request.ready)),
    })),
    RepositoryModelLoad: changes<LoadRequest>(async (request) => {
      const { config, files } = loadParameters(request.parameters);
      await control.loadModel(request.model_name, config, files);
      return {};
    }),
    RepositoryModelUnload: changes<LoadRequest>(async (request) => {
      await control.unloadModel(request.model_name, unloadDependents(request.parameters));
      return {};
    }),
    TraceSetting: settingsHandler<TraceValue, { model_name: string; settings: Record<string, TraceValue> }>(
      services,
      async (request, update) => ({ settings: traceValues(await control.traceSettings(request.model_name, update)) }),
      (value) => (value.value.length > 1 ? value.value : (value.value[0] ?? null)),
    ),
    LogSettings: settingsHandler<LogValue, { settings: Record<string, LogValue> }>(
      services,
      async (_request, update) => ({ settings: logValues(await control.logSettings(update)) }),
      (value) => (value.parameter_choice === undefined ? null : value[value.parameter_choice]),
    ),
  };
}

/** Reading settings needs a caller, changing them the control role: one method does both. */
function settingsHandler<V, T extends { settings: Record<string, V> }>(
  services: GatewayServices,
  apply: (request: T, update: Record<string, unknown> | undefined) => Promise<object>,
  read: (value: V) => unknown,
): Handlers[string] {
  const handle = (request: T): Promise<object> => {
    const names = Object.keys(request.settings);
    if (names.length === 0) return apply(request, undefined);
    const update = Object.create(null) as Record<string, unknown>;
    for (const name of names) update[name] = read(request.settings[name]);
    return apply(request, update);
  };
  const forAccess = (access: Access) => guard<T>(services, access, handle);
  const reading = forAccess('caller');
  const changing = forAccess('control');
  return (call, callback) => {
    const changes = Object.keys((call.request as T).settings).length > 0;
    (changes ? changing : reading)(call, callback);
  };
}

function loadParameters(parameters: LoadRequest['parameters']): { config: string; files: Map<string, Uint8Array> } {
  const files = new Map<string, Uint8Array>();
  let config = '';
  for (const [name, value] of Object.entries(parameters)) {
    if (name === 'config') {
      if (value.parameter_choice !== 'string_param') throw invalidArgument(`parameter 'config': give a string_param`);
      config = value.string_param!;
    } else if (name.startsWith(FILE_PREFIX)) {
      if (value.parameter_choice !== 'bytes_param') throw invalidArgument(`parameter '${name}': give a bytes_param`);
      files.set(name.slice(FILE_PREFIX.length), value.bytes_param!);
    } else {
      throw invalidArgument(`parameter '${name}' is unknown; allowed are 'config' and 'file:<version>/<name>'`);
    }
  }
  if (files.size > 0 && config === '') {
    throw invalidArgument(`parameter 'config' is required where 'file:' parameters are given`);
  }
  return { config, files };
}

function unloadDependents(parameters: LoadRequest['parameters']): boolean {
  const value = parameters.unload_dependents;
  if (value === undefined) return false;
  if (value.parameter_choice !== 'bool_param')
    throw invalidArgument(`parameter 'unload_dependents': give a bool_param`);
  return value.bool_param!;
}

function traceValues(settings: Record<string, unknown>): object {
  const values: Record<string, { value: string[] }> = {};
  for (const [name, value] of Object.entries(settings)) {
    values[name] = { value: Array.isArray(value) ? value.map(String) : [String(value)] };
  }
  return values;
}

function logValues(settings: Record<string, unknown>): object {
  const values: Record<string, LogValue> = {};
  for (const [name, value] of Object.entries(settings)) {
    if (typeof value === 'boolean') values[name] = { bool_param: value };
    else if (typeof value === 'number') values[name] = { uint32_param: value };
    else values[name] = { string_param: String(value) };
  }
  return values;
}
