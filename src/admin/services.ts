import type { Logger } from 'pino';
import type { Config } from '../config/schema.ts';
import type { ReloadStatus } from '../control/config-reloader.ts';
import type { PoolDescription } from '../control/executor-pool.ts';
import type { Routes } from '../control/routes/routes.ts';
import type { EventLog } from '../eventlog/event-log.ts';
import type { Features } from '../features/features.ts';
import type { Monitors } from '../monitoring/monitors.ts';
import type { ServingTable, VersionStatus } from '../pipeline/types.ts';
import type { RegistryFront } from '../registry/front.ts';
import type { MetricsReader, RowName } from '../telemetry/metrics-reader.ts';
import type { TenantFigures } from '../telemetry/tenant-metrics.ts';
import type { Jobs } from '../training/jobs/jobs.ts';
import type { Pipelines } from '../training/pipelines/pipelines.ts';
import type { Sweeps } from '../training/sweeps/sweeps.ts';
import type { LiveSkew } from '../validation/live/live-skew.ts';

/** What the admin port may ask of the control thread; wired in src/main.ts. */
export interface AdminServices {
  /** The configuration in use. */
  config(): Config;
  control: {
    repositoryIndex(readyOnly: boolean): Promise<{ name: string; versions: VersionStatus[] }[]>;
    /** As the gateways' control client calls. Rejects with SwitchyardError. */
    call(
      method: 'loadModel' | 'unloadModel' | 'logSettings' | 'traceSettings' | 'feedback',
      args: unknown[],
    ): Promise<unknown>;
  };
  manager: { table(): ServingTable };
  hub: {
    prometheus(): Promise<string>;
    readonly reader: MetricsReader;
    readonly rows: { names(): RowName[] };
    tenants(): TenantFigures[];
  };
  /** Undefined: nothing is logged. */
  eventLog:
    | Pick<EventLog, 'status' | 'tail' | 'verify' | 'payload' | 'startReplay' | 'replays' | 'replay' | 'cancelReplay'>
    | undefined;
  reloader: { readonly status: ReloadStatus; reload(): ReloadStatus };
  pool: { describe(): PoolDescription };
  fleet: { readonly ready: boolean; ids(): number[] };
  registry: Pick<RegistryFront, 'owns' | 'serve' | 'refuse' | 'routes'>;
  routes: Pick<Routes, 'list' | 'get' | 'mismatches' | 'status' | 'reload' | 'change' | 'command'>;
  training: { get(): Promise<{ jobs: Jobs; sweeps: Sweeps }> };
  pipelines: Pick<
    Pipelines,
    | 'documents'
    | 'change'
    | 'reload'
    | 'run'
    | 'runs'
    | 'getRun'
    | 'cancel'
    | 'resume'
    | 'triggers'
    | 'evaluation'
    | 'evaluations'
    | 'compare'
    | 'promote'
  >;
  features: Pick<
    Features,
    'documents' | 'change' | 'reload' | 'online' | 'push' | 'materialize' | 'historical' | 'fit' | 'transforms'
  >;
  skew: Pick<LiveSkew, 'report'>;
  monitors: Pick<
    Monitors,
    'documents' | 'change' | 'reload' | 'list' | 'get' | 'windows' | 'alerts' | 'lineage' | 'origin' | 'trace' | 'reset'
  >;
  version: string;
  logger: Pick<Logger, 'error'>;
}
