import type { RawConfig } from './map.ts';

/** The parts of a mapped ModelConfig that Switchyard reads. The mapper has checked their types; any may be missing. */
export interface RawModel {
  name?: string;
  platform?: string;
  backend?: string;
  version_policy?: { latest?: { num_versions?: number }; all?: object; specific?: { versions?: number[] } };
  max_batch_size?: number;
  input?: RawTensor[];
  output?: RawTensor[];
  batch_input?: object[];
  batch_output?: object[];
  dynamic_batching?: RawDynamicBatching;
  sequence_batching?: object;
  ensemble_scheduling?: { step?: RawStep[]; max_inflight_requests?: number };
  instance_group?: { kind?: string; count?: number; gpus?: number[] }[];
  default_model_filename?: string;
  parameters?: Record<string, { string_value?: string }>;
  model_warmup?: RawWarmup[];
  model_operations?: { op_library_filename?: string[] };
  model_transaction_policy?: { decoupled?: boolean };
  model_repository_agents?: { agents?: object[] };
  response_cache?: { enable?: boolean };
}

export interface RawTensor {
  name?: string;
  data_type?: string;
  dims?: number[];
  reshape?: { shape?: number[] };
  optional?: boolean;
  allow_ragged_batch?: boolean;
  label_filename?: string;
}

export interface RawQueuePolicy {
  timeout_action?: string;
  default_timeout_microseconds?: number;
  allow_timeout_override?: boolean;
  max_queue_size?: number;
}

export interface RawDynamicBatching {
  preferred_batch_size?: number[];
  max_queue_delay_microseconds?: number;
  preserve_ordering?: boolean;
  priority_levels?: number;
  default_priority_level?: number;
  default_queue_policy?: RawQueuePolicy;
  priority_queue_policy?: Record<string, RawQueuePolicy>;
}

export interface RawStep {
  model_name?: string;
  model_version?: number;
  input_map?: Record<string, string>;
  output_map?: Record<string, string>;
}

export interface RawWarmup {
  name?: string;
  batch_size?: number;
  count?: number;
  inputs?: Record<
    string,
    { data_type?: string; dims?: number[]; zero_data?: boolean; random_data?: boolean; input_data_file?: string }
  >;
}

/** The typed view of a mapped configuration. */
export function asRawModel(raw: RawConfig): RawModel {
  return raw as RawModel;
}
