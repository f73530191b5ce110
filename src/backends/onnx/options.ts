import type { InferenceSession } from 'onnxruntime-node';
import { SwitchyardError } from '../../shared/errors.ts';
import { CUDA_PARAMETERS } from './gpu-options.ts';

type Provider = { name: string; deviceId?: number };

export interface SessionPlan {
  options: InferenceSession.SessionOptions;
  /** The model asks for threads of its own; else it runs on those that all models share, where they do. */
  ownThreads: boolean;
  /** Options of the configuration that onnxruntime-node cannot take, in words. */
  warnings: string[];
}

/** Prefixes of ONNX Runtime's own session configuration keys, which pass through unchanged. */
const CONFIG_PREFIXES = ['session.', 'optimization.', 'ep.', 'mlas.'];

const PROVIDERS = ['cpu', 'cuda', 'tensorrt', 'webgpu'];

/** Provider options Triton users set that onnxruntime-node has no way to hand on. */
const UNREACHABLE = [...CUDA_PARAMETERS, 'memory.enable_memory_arena_shrinkage'];

const GRAPH_LEVELS = ['disabled', 'basic', 'extended', 'layout', 'all'] as const;
const SWITCH: Readonly<Record<string, boolean>> = { '0': false, '1': true, false: false, true: true };

/**
 * Session options from a model's `parameters` and Triton's `optimization` block (`raw.optimization`). The defaults suit
 * many executors on few cores: one thread for each session, and no spinning.
 *
 * @param device GPU of this instance, or -1 for the CPU
 * @throws SwitchyardError invalid_argument, naming the parameter, its value and what is allowed
 */
export function planSession(
  parameters: Readonly<Record<string, string>>,
  optimization: unknown,
  device: number,
): SessionPlan {
  const warnings: string[] = [];
  const extra: Record<string, string> = {
    'session.intra_op.allow_spinning': '0',
    'session.inter_op.allow_spinning': '0',
  };
  for (const [key, value] of Object.entries(parameters)) {
    if (CONFIG_PREFIXES.some((prefix) => key.startsWith(prefix))) extra[key] = value;
    else if (UNREACHABLE.includes(key)) warnings.push(unreachable(key));
  }
  const options: InferenceSession.SessionOptions = {
    executionProviders: providers(parameters, optimization, device, warnings),
    intraOpNumThreads: wholeNumber(parameters, 'intra_op_thread_count', 1),
    interOpNumThreads: wholeNumber(parameters, 'inter_op_thread_count', 1),
    graphOptimizationLevel: graphLevel(parameters, optimization),
    executionMode: executionMode(parameters.execution_mode),
    enableMemPattern: onOff(parameters, 'enable_mem_pattern', true),
    enableCpuMemArena: onOff(parameters, 'enable_mem_arena', true),
    // Every failed run is thrown to us as well; ONNX Runtime's own lines would let a client fill the log.
    logSeverityLevel: logSeverity(parameters),
    extra,
  };
  const ownThreads = ['intra_op_thread_count', 'inter_op_thread_count'].some((key) => (parameters[key] ?? '') !== '');
  return { options, ownThreads, warnings };
}

function providers(
  parameters: Readonly<Record<string, string>>,
  optimization: unknown,
  device: number,
  warnings: string[],
): Provider[] {
  const names = providerNames(parameters, optimization, device, warnings);
  const deviceId = device >= 0 ? device : wholeNumber(parameters, 'device_id', 0);
  const list: Provider[] = [];
  for (const name of names) {
    if (!PROVIDERS.includes(name)) {
      throw badParameter('execution_providers', name, `one of ${PROVIDERS.join(', ')}`);
    }
    list.push(name === 'cpu' ? { name } : { name, deviceId });
  }
  if (!names.includes('cpu')) list.push({ name: 'cpu' });
  return list;
}

function providerNames(
  parameters: Readonly<Record<string, string>>,
  optimization: unknown,
  device: number,
  warnings: string[],
): string[] {
  const named = parameters.execution_providers;
  if (named !== undefined) {
    return named
      .split(',')
      .map((name) => name.trim().toLowerCase())
      .filter((name) => name !== '');
  }
  const names: string[] = [];
  const accelerators = member(optimization, 'execution_accelerators');
  for (const kind of ['gpu_execution_accelerator', 'cpu_execution_accelerator']) {
    if (kind === 'gpu_execution_accelerator' && device < 0) continue;
    const list = member(accelerators, kind);
    if (!Array.isArray(list)) continue;
    for (const item of list) {
      const name = String(member(item, 'name') ?? '').toLowerCase();
      if (PROVIDERS.includes(name)) names.push(name);
      else warnings.push(`execution accelerator "${name}" is not in onnxruntime-node; it was left out`);
      for (const key of Object.keys((member(item, 'parameters') as object | undefined) ?? {})) {
        warnings.push(unreachable(key));
      }
    }
  }
  if (device >= 0 && !names.includes('cuda')) names.push('cuda');
  return names;
}

function unreachable(key: string): string {
  return `option "${key}" has no way through onnxruntime-node, whose GPU providers take a device id only; it was left out (models.onnxRuntime: native passes it on)`;
}

function graphLevel(
  parameters: Readonly<Record<string, string>>,
  optimization: unknown,
): (typeof GRAPH_LEVELS)[number] {
  const named = parameters.graph_optimization_level;
  if (named !== undefined) {
    const level = GRAPH_LEVELS.find((candidate) => candidate === named);
    if (level === undefined) throw badParameter('graph_optimization_level', named, `one of ${GRAPH_LEVELS.join(', ')}`);
    return level;
  }
  // Triton's numbers: -1 basic, 1 extended, anything else everything.
  switch (Number(member(member(optimization, 'graph'), 'level') ?? 0)) {
    case -1:
      return 'basic';
    case 1:
      return 'extended';
    default:
      return 'all';
  }
}

function executionMode(value: string | undefined): 'sequential' | 'parallel' {
  if (value === undefined || value === '0' || value === 'sequential') return 'sequential';
  if (value === '1' || value === 'parallel') return 'parallel';
  throw badParameter('execution_mode', value, '0 or sequential, 1 or parallel');
}

function logSeverity(parameters: Readonly<Record<string, string>>): 0 | 1 | 2 | 3 | 4 {
  const level = wholeNumber(parameters, 'log_severity_level', 4);
  if (level > 4) throw badParameter('log_severity_level', String(level), '0 (verbose) to 4 (fatal)');
  return level as 0 | 1 | 2 | 3 | 4;
}

function wholeNumber(parameters: Readonly<Record<string, string>>, key: string, fallback: number): number {
  const text = parameters[key];
  if (text === undefined || text === '') return fallback;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 1024)
    throw badParameter(key, text, 'a whole number from 0 to 1024');
  return value;
}

function onOff(parameters: Readonly<Record<string, string>>, key: string, fallback: boolean): boolean {
  const text = parameters[key];
  if (text === undefined || text === '') return fallback;
  const value = Object.hasOwn(SWITCH, text) ? SWITCH[text] : undefined;
  if (value === undefined) throw badParameter(key, text, '0, 1, false or true');
  return value;
}

function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}

function badParameter(key: string, value: string, allowed: string): SwitchyardError {
  return new SwitchyardError('invalid_argument', `parameter "${key}" is "${value}"; allowed: ${allowed}`);
}
