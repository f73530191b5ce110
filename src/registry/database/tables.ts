import type { ArtifactTables } from './tables/artifacts.ts';
import type { DatasetTables } from './tables/datasets.ts';
import type { FeatureTables } from './tables/features.ts';
import type { JobTables } from './tables/jobs.ts';
import type { GatewayTables, ModelTables, WebhookTables } from './tables/models.ts';
import type { MonitorTables } from './tables/monitors.ts';
import type { PipelineTables } from './tables/pipelines.ts';
import type { RouteTables } from './tables/routes.ts';
import type { SweepTables } from './tables/sweeps.ts';
import type { TrackingTables } from './tables/tracking.ts';

/** Every table of the registry: one interface per area, beside the area's migration. */
export interface Tables
  extends TrackingTables,
    ArtifactTables,
    ModelTables,
    WebhookTables,
    GatewayTables,
    RouteTables,
    JobTables,
    PipelineTables,
    FeatureTables,
    DatasetTables,
    MonitorTables,
    SweepTables {}
