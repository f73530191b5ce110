/**
 * Triton's ModelConfig messages as data: field name → type. A type is a scalar, the name of an entry of MESSAGES or
 * ENUMS, `T[]` for repeated, `map<K,V>` for maps.
 */
export const MESSAGES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  ModelConfig: {
    name: 'string',
    platform: 'string',
    backend: 'string',
    runtime: 'string',
    version_policy: 'VersionPolicy',
    max_batch_size: 'int32',
    input: 'Input[]',
    output: 'Output[]',
    batch_input: 'BatchInput[]',
    batch_output: 'BatchOutput[]',
    optimization: 'Optimization',
    dynamic_batching: 'DynamicBatching',
    sequence_batching: 'SequenceBatching',
    ensemble_scheduling: 'Ensembling',
    instance_group: 'InstanceGroup[]',
    default_model_filename: 'string',
    cc_model_filenames: 'map<string,string>',
    metric_tags: 'map<string,string>',
    parameters: 'map<string,Parameter>',
    model_warmup: 'Warmup[]',
    model_operations: 'Operations',
    model_transaction_policy: 'TransactionPolicy',
    model_repository_agents: 'Agents',
    response_cache: 'ResponseCache',
    model_metrics: 'Metrics',
  },
  Input: {
    name: 'string',
    data_type: 'DataType',
    format: 'Format',
    dims: 'int64[]',
    reshape: 'Reshape',
    is_shape_tensor: 'bool',
    allow_ragged_batch: 'bool',
    optional: 'bool',
    is_non_linear_format_io: 'bool',
  },
  Output: {
    name: 'string',
    data_type: 'DataType',
    dims: 'int64[]',
    reshape: 'Reshape',
    label_filename: 'string',
    is_shape_tensor: 'bool',
    is_non_linear_format_io: 'bool',
  },
  Reshape: { shape: 'int64[]' },
  BatchInput: { kind: 'BatchInputKind', target_name: 'string[]', data_type: 'DataType', source_input: 'string[]' },
  BatchOutput: { target_name: 'string[]', kind: 'BatchOutputKind', source_input: 'string[]' },
  VersionPolicy: { latest: 'Latest', all: 'All', specific: 'Specific' },
  Latest: { num_versions: 'uint32' },
  All: {},
  Specific: { versions: 'int64[]' },
  Optimization: {
    graph: 'Graph',
    priority: 'ModelPriority',
    cuda: 'Cuda',
    execution_accelerators: 'Accelerators',
    input_pinned_memory: 'PinnedMemory',
    output_pinned_memory: 'PinnedMemory',
    gather_kernel_buffer_threshold: 'uint32',
    eager_batching: 'bool',
  },
  Graph: { level: 'int32' },
  Cuda: { graphs: 'bool', busy_wait_events: 'bool', graph_spec: 'GraphSpec[]', output_copy_stream: 'bool' },
  GraphSpec: { batch_size: 'int32', input: 'map<string,GraphShape>', graph_lower_bound: 'LowerBound' },
  GraphShape: { dim: 'int64[]' },
  LowerBound: { batch_size: 'int32', input: 'map<string,GraphShape>' },
  Accelerators: { gpu_execution_accelerator: 'Accelerator[]', cpu_execution_accelerator: 'Accelerator[]' },
  Accelerator: { name: 'string', parameters: 'map<string,string>' },
  PinnedMemory: { enable: 'bool' },
  QueuePolicy: {
    timeout_action: 'TimeoutAction',
    default_timeout_microseconds: 'uint64',
    allow_timeout_override: 'bool',
    max_queue_size: 'uint32',
  },
  DynamicBatching: {
    preferred_batch_size: 'int32[]',
    max_queue_delay_microseconds: 'uint64',
    preserve_ordering: 'bool',
    priority_levels: 'uint64',
    default_priority_level: 'uint64',
    default_queue_policy: 'QueuePolicy',
    priority_queue_policy: 'map<uint64,QueuePolicy>',
  },
  SequenceBatching: {
    direct: 'StrategyDirect',
    oldest: 'StrategyOldest',
    max_sequence_idle_microseconds: 'uint64',
    control_input: 'ControlInput[]',
    state: 'State[]',
    iterative_sequence: 'bool',
  },
  StrategyDirect: { max_queue_delay_microseconds: 'uint64', minimum_slot_utilization: 'float' },
  StrategyOldest: {
    max_candidate_sequences: 'int32',
    preferred_batch_size: 'int32[]',
    max_queue_delay_microseconds: 'uint64',
    preserve_ordering: 'bool',
  },
  ControlInput: { name: 'string', control: 'Control[]' },
  Control: {
    kind: 'ControlKind',
    int32_false_true: 'int32[]',
    fp32_false_true: 'float[]',
    bool_false_true: 'bool[]',
    data_type: 'DataType',
  },
  State: {
    input_name: 'string',
    output_name: 'string',
    data_type: 'DataType',
    dims: 'int64[]',
    initial_state: 'InitialState[]',
    use_same_buffer_for_input_output: 'bool',
    use_growable_memory: 'bool',
  },
  InitialState: { data_type: 'DataType', dims: 'int64[]', zero_data: 'bool', data_file: 'string', name: 'string' },
  Ensembling: { step: 'Step[]', max_inflight_requests: 'uint32' },
  Step: {
    model_name: 'string',
    model_version: 'int64',
    input_map: 'map<string,string>',
    output_map: 'map<string,string>',
    model_namespace: 'string',
  },
  InstanceGroup: {
    name: 'string',
    kind: 'InstanceKind',
    count: 'int32',
    rate_limiter: 'RateLimiter',
    gpus: 'int32[]',
    secondary_devices: 'SecondaryDevice[]',
    profile: 'string[]',
    passive: 'bool',
    host_policy: 'string',
  },
  RateLimiter: { resources: 'Resource[]', priority: 'uint32' },
  Resource: { name: 'string', global: 'bool', count: 'uint32' },
  SecondaryDevice: { kind: 'SecondaryKind', device_id: 'int64' },
  Parameter: { string_value: 'string' },
  Warmup: { name: 'string', batch_size: 'uint32', inputs: 'map<string,WarmupInput>', count: 'uint32' },
  WarmupInput: {
    data_type: 'DataType',
    dims: 'int64[]',
    zero_data: 'bool',
    random_data: 'bool',
    input_data_file: 'string',
  },
  Operations: { op_library_filename: 'string[]' },
  TransactionPolicy: { decoupled: 'bool' },
  Agents: { agents: 'Agent[]' },
  Agent: { name: 'string', parameters: 'map<string,string>' },
  ResponseCache: { enable: 'bool' },
  Metrics: { metric_control: 'MetricControl[]' },
  MetricControl: { metric_identifier: 'MetricIdentifier', histogram_options: 'HistogramOptions' },
  MetricIdentifier: { family: 'string' },
  HistogramOptions: { buckets: 'double[]' },
};

/** At most one field of each group may be given. Such fields also have no default when configurations are printed. */
export const ONE_OF: Readonly<Record<string, readonly (readonly string[])[]>> = {
  ModelConfig: [['dynamic_batching', 'sequence_batching', 'ensemble_scheduling']],
  VersionPolicy: [['latest', 'all', 'specific']],
  SequenceBatching: [['direct', 'oldest']],
  InitialState: [['zero_data', 'data_file']],
  WarmupInput: [['zero_data', 'random_data', 'input_data_file']],
};

/** Names by number; the first is the default. */
export const ENUMS: Readonly<Record<string, readonly string[]>> = {
  DataType: [
    'TYPE_INVALID',
    'TYPE_BOOL',
    'TYPE_UINT8',
    'TYPE_UINT16',
    'TYPE_UINT32',
    'TYPE_UINT64',
    'TYPE_INT8',
    'TYPE_INT16',
    'TYPE_INT32',
    'TYPE_INT64',
    'TYPE_FP16',
    'TYPE_FP32',
    'TYPE_FP64',
    'TYPE_STRING',
    'TYPE_BF16',
  ],
  Format: ['FORMAT_NONE', 'FORMAT_NHWC', 'FORMAT_NCHW'],
  ModelPriority: ['PRIORITY_DEFAULT', 'PRIORITY_MAX', 'PRIORITY_MIN'],
  TimeoutAction: ['REJECT', 'DELAY'],
  InstanceKind: ['KIND_AUTO', 'KIND_GPU', 'KIND_CPU', 'KIND_MODEL'],
  SecondaryKind: ['KIND_NVDLA'],
  BatchInputKind: [
    'BATCH_ELEMENT_COUNT',
    'BATCH_ACCUMULATED_ELEMENT_COUNT',
    'BATCH_ACCUMULATED_ELEMENT_COUNT_WITH_ZERO',
    'BATCH_MAX_ELEMENT_COUNT_AS_SHAPE',
    'BATCH_ITEM_SHAPE',
    'BATCH_ITEM_SHAPE_FLATTEN',
  ],
  BatchOutputKind: ['BATCH_SCATTER_WITH_INPUT_SHAPE'],
  ControlKind: ['CONTROL_SEQUENCE_START', 'CONTROL_SEQUENCE_READY', 'CONTROL_SEQUENCE_END', 'CONTROL_SEQUENCE_CORRID'],
};

/**
 * Switchyard's own settings. In config.pbtxt they are `parameters` named `switchyard.<name>`; in YAML and JSON also
 * plain top-level fields.
 */
export const EXTENSIONS: readonly string[] = [
  'isolation',
  'allowed_batch_sizes',
  'latency_target_ms',
  'ragged_pad_value',
  'version_labels',
  'max_inflight',
  'preflight',
  'preflight_compare',
  'hang_timeout_ms',
  'load_timeout_ms',
  'memory_limit_bytes',
  'pinned',
  'features',
  'validation',
];
export const EXTENSION_PREFIX = 'switchyard.';

export interface FieldType {
  /** Scalar name, or a key of MESSAGES or ENUMS. */
  base: string;
  repeated: boolean;
  /** Key type of a map field; '' otherwise. */
  mapKey: string;
}

/** Decodes a type of MESSAGES. */
export function fieldType(type: string): FieldType {
  const map = /^map<(\w+),(\w+)>$/.exec(type);
  if (map) return { base: map[2], repeated: false, mapKey: map[1] };
  const repeated = type.endsWith('[]');
  return { base: repeated ? type.slice(0, -2) : type, repeated, mapKey: '' };
}
