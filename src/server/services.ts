import type { Admission } from '../admission/admission.ts';
import type { DataPlane, ModelStatistics, ServingTable, VersionStatus } from '../pipeline/types.ts';

/** Everything a transport of a gateway thread may ask for. One object per gateway thread, wired in gateway/thread.ts. */
export interface GatewayServices {
  dataPlane: DataPlane;
  table(): ServingTable;
  admission: Admission;
  /** Summed over all threads; '' = all models / all versions. Throws not_found. */
  statistics(model: string, version: string): ModelStatistics[];
  control: ControlClient;
  features: FeatureService;
  server: ServerInfo;
}

/** What may be asked to change in the feature store, by Feast's paths. */
export type FeatureVerb = 'push' | 'write' | 'materialize' | 'materialize-incremental';

/** The feature store. Throws or rejects with SwitchyardError. */
export interface FeatureService {
  /** Feast's POST /get-online-features: JSON text of the answer. */
  online(tenant: string, body: Uint8Array): string | Promise<string>;
  /** Answered by the control thread. `body` is the call's own. */
  call(verb: FeatureVerb, tenant: string, body: Uint8Array): Promise<object>;
}

export interface ServerInfo {
  /** 'switchyard', or 'triton' under the compatibility switch. */
  name: string;
  version: string;
  live(): boolean;
  /** False while starting and draining. */
  ready(): boolean;
  /** Body cap in bytes for HTTP and messages of gRPC. */
  maxBodyBytes: number;
  /** What ModelStreamInfer sends: ModelStreamInferResponse, or bare ModelInferResponse as MLServer does. */
  streamForm: 'triton' | 'bare';
}

/** Calls answered by the control thread. Rejects with SwitchyardError. */
export interface ControlClient {
  repositoryIndex(readyOnly: boolean): Promise<{ name: string; versions: VersionStatus[] }[]>;
  /** `files`: path inside the model's folder → bytes ("1/model.onnx"). `config`: Triton's ModelConfig as JSON, '' = none. */
  loadModel(name: string, config: string, files: Map<string, Uint8Array>): Promise<void>;
  /** Loads a known model that is not in memory; resolves when it answers. */
  demand(name: string): Promise<void>;
  unloadModel(name: string, unloadDependents: boolean): Promise<void>;
  traceSettings(model: string, update: Record<string, unknown> | undefined): Promise<Record<string, unknown>>;
  logSettings(update: Record<string, unknown> | undefined): Promise<Record<string, unknown>>;
  /**
   * Rewards by decision id, as JSON gives them; what became of each event.
   * @param tenant who sends them; '': they are for all tenants
   */
  feedback(body: unknown, tenant: string): Promise<object>;
}
