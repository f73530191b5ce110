import { invalidArgument } from '../../shared/errors.ts';

/** An execution provider with options by ONNX Runtime's names. */
export interface ProviderPlan {
  name: 'cuda' | 'tensorrt';
  options: Record<string, string>;
}

/** What a model's configuration says of its run on a GPU. */
export interface GpuPlan {
  /** The preferred one first. */
  providers: ProviderPlan[];
  /** Each batch size is captured as a CUDA graph. */
  graphs: boolean;
  /** Batch sizes that the configuration names for graphs. */
  graphSizes: number[];
  /** Bytes of device memory for the model on each GPU, 0: no limit. */
  memoryLimit: number;
}

/** Parameters of the model, as Triton's ONNX Runtime backend names them, that are options of the CUDA provider. */
export const CUDA_PARAMETERS: readonly string[] = [
  'gpu_mem_limit',
  'arena_extend_strategy',
  'cudnn_conv_algo_search',
  'cudnn_conv_use_max_workspace',
  'cudnn_conv1d_pad_to_nc1d',
  'do_copy_in_default_stream',
  'enable_cuda_graph',
  'use_tf32',
];

/** Set here for each slot; a value of the configuration's would break the order of copies and runs. */
const OURS: readonly string[] = ['device_id', 'user_compute_stream', 'has_user_compute_stream'];

/** Triton's names for options of the TensorRT provider; any other name is passed on as it is. */
const TENSORRT_NAMES: Readonly<Record<string, string>> = {
  max_workspace_size_bytes: 'trt_max_workspace_size',
  int8_calibration_table_name: 'trt_int8_calibration_table_name',
  int8_use_native_calibration_table: 'trt_int8_use_native_calibration_table',
};

/**
 * GPU options from a model's `parameters` and Triton's `optimization` block. Names that ONNX Runtime does not know are
 * refused by it when the model is loaded.
 *
 * @throws SwitchyardError invalid_argument, naming the option, its value and what is allowed
 */
export function planGpu(parameters: Readonly<Record<string, string>>, optimization: unknown): GpuPlan {
  const cuda: ProviderPlan = { name: 'cuda', options: {} };
  let tensorrt: ProviderPlan | undefined;
  for (const [key, value] of Object.entries(parameters)) if (CUDA_PARAMETERS.includes(key)) cuda.options[key] = value;
  const accelerators = member(member(optimization, 'execution_accelerators'), 'gpu_execution_accelerator');
  for (const accelerator of Array.isArray(accelerators) ? accelerators : []) {
    const name = String(member(accelerator, 'name') ?? '').toLowerCase();
    const given = Object.entries((member(accelerator, 'parameters') as Record<string, unknown> | undefined) ?? {});
    const options = given.map(([key, value]) => [key, String(value)] as const);
    if (name === 'tensorrt') tensorrt = { name, options: tensorRtOptions(options) };
    else if (name === 'cuda') for (const [key, value] of options) cuda.options[key] = value;
    else throw invalidArgument(`gpu_execution_accelerator "${name}" is not served here; allowed: cuda, tensorrt`);
  }
  const named = parameters.execution_providers
    ?.toLowerCase()
    .split(',')
    .map((name) => name.trim());
  if (named?.includes('tensorrt')) tensorrt ??= { name: 'tensorrt', options: {} };
  const block = member(optimization, 'cuda');
  if (member(block, 'graphs') === true) cuda.options.enable_cuda_graph = '1';
  const wanted = cuda.options.enable_cuda_graph;
  if (wanted !== undefined && !['0', '1'].includes(wanted))
    throw invalidArgument(`option "enable_cuda_graph" is "${wanted}"; allowed: 0 or 1`);
  if (tensorrt !== undefined) refuseTensorRtGraphs(tensorrt, wanted === '1');
  for (const provider of [cuda, tensorrt]) {
    const ours = OURS.find((key) => provider !== undefined && Object.hasOwn(provider.options, key));
    if (ours !== undefined)
      throw invalidArgument(`option "${ours}" of ${provider?.name} is set by instance_group; leave it out`);
  }
  return {
    providers: tensorrt === undefined ? [cuda] : [tensorrt, cuda],
    graphs: wanted === '1',
    graphSizes: graphSizes(member(block, 'graph_spec')),
    memoryLimit: memoryLimit(cuda.options.gpu_mem_limit),
  };
}

/**
 * ONNX Runtime's TensorRT provider keeps one graph for a session, whichever graph a run asks for: every slot and batch size
 * would replay the first one's, over the first one's memory. With the CUDA provider's graphs the session takes no node that
 * TensorRT runs.
 */
function refuseTensorRtGraphs({ options }: ProviderPlan, graphs: boolean): void {
  const own = options.trt_cuda_graph_enable?.toLowerCase();
  if (own !== undefined && !['0', 'false'].includes(own))
    throw invalidArgument(
      `option "trt_cuda_graph_enable" of tensorrt is "${options.trt_cuda_graph_enable}"; allowed: 0, since the provider keeps one graph and each slot and batch size needs its own`,
    );
  if (graphs)
    throw invalidArgument(
      'CUDA graphs (cuda.graphs, enable_cuda_graph) do not go together with tensorrt; drop the graphs or the accelerator',
    );
}

function tensorRtOptions(given: readonly (readonly [string, string])[]): Record<string, string> {
  const options: Record<string, string> = {};
  for (const [key, value] of given) {
    if (key !== 'precision_mode') {
      options[Object.hasOwn(TENSORRT_NAMES, key) ? TENSORRT_NAMES[key] : key] = value;
      continue;
    }
    const mode = value.toUpperCase();
    if (mode === 'FP16') options.trt_fp16_enable = '1';
    else if (mode === 'INT8') options.trt_int8_enable = '1';
    else if (mode !== 'FP32')
      throw invalidArgument(`option "precision_mode" of tensorrt is "${value}"; allowed: FP32, FP16, INT8`);
  }
  return options;
}

function graphSizes(specs: unknown): number[] {
  if (!Array.isArray(specs)) return [];
  const sizes = specs.map((spec) => Number(member(spec, 'batch_size') ?? 0)).filter((size) => size > 0);
  return [...new Set(sizes)].sort((a, b) => a - b);
}

function memoryLimit(text: string | undefined): number {
  if (text === undefined) return 0;
  const bytes = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(bytes) || bytes === 0)
    throw invalidArgument(`option "gpu_mem_limit" is "${text}"; allowed: a number of bytes from 1`);
  return bytes;
}

/**
 * The batch sizes that are captured as graphs, ascending; a batch is padded up to the next of them. `allowed`: the
 * model's allowed_batch_sizes. A size beyond the largest batch is of no use, and the largest batch must have one.
 */
export function graphBuckets(maxBatchSize: number, allowed: readonly number[], named: readonly number[]): number[] {
  if (maxBatchSize === 0) return [1];
  const sizes = allowed.length > 0 ? allowed : named;
  if (sizes.length > 0) {
    return [...new Set([...sizes.filter((size) => size < maxBatchSize), maxBatchSize])].sort((a, b) => a - b);
  }
  const powers: number[] = [];
  for (let size = 1; size < maxBatchSize; size *= 2) powers.push(size);
  return [...powers, maxBatchSize];
}

function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}
