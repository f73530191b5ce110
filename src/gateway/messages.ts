import type { MessagePort } from 'node:worker_threads';
import type { AdmissionConfig } from '../admission/admission-config.ts';
import type { RouteDocument } from '../config/route-schema.ts';
import type { Config } from '../config/schema.ts';
import type { RingMemory } from '../eventlog/handover/memory.ts';
import type { FeatureDocument } from '../features/documents/schema.ts';
import type { SpreadRows } from '../features/online/gateway-features.ts';
import type { JoinCounts } from '../features/serving/join.ts';
import type { Transforms } from '../features/serving/plan.ts';
import type { AliasTable } from '../pipeline/routed/route-version.ts';
import type { ServingModel } from '../pipeline/types.ts';
import type { RouteState } from '../routing/live-route.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { LogSettings } from '../telemetry/log-settings.ts';
import type { MetricsChunk, ThreadMetrics } from '../telemetry/thread-metrics.ts';
import type { TraceSettingsState } from '../telemetry/trace-settings.ts';
import type { TopicFigures } from '../topics/inference-topic.ts';
import type { DoorCounts, DoorSchemas, LiveStatistics } from '../validation/door.ts';
import type { RouteActivity } from './route-activity.ts';

/** What a gateway thread starts with. */
export interface GatewayThreadData {
  id: number;
  config: Config;
  /** Version of the program, for the server metadata. */
  version: string;
  /** Listens for gRPC even where threads cannot share the port, as node:http2's cannot. */
  serveGrpc: boolean;
  /** Serves topics instead of sockets. */
  topics: boolean;
  admission: AdmissionConfig;
  limits: SharedArrayBuffer;
  metrics: ThreadMetrics;
  /** Every thread's chunks so far, for statistics. */
  chunks: MetricsChunk[];
  traceSettings: TraceSettingsState;
  traceCounters: SharedArrayBuffer;
  logSettings: LogSettings;
  instanceId: string;
  /** The control thread's: what is decided here is waited for there. */
  steadyOffset: number;
  /** Ring to the log thread, this thread's own; absent: nothing is logged. */
  eventLog: RingMemory | undefined;
}

/** The serving table travels as what changed since the generation before. */
export interface TableDelta {
  generation: number;
  changed: ServingModel[];
  removed: string[];
}

/** Control thread → gateway thread. */
export type GatewayCommand =
  | { kind: 'table'; delta: TableDelta }
  | { kind: 'executor'; executor: number; port: MessagePort }
  | { kind: 'executorLost'; executor: number }
  | { kind: 'listen'; httpPort: number; grpcPort: number }
  | { kind: 'ready'; ready: boolean }
  | { kind: 'admission'; config: AdmissionConfig }
  | { kind: 'metricsChunk'; chunk: MetricsChunk }
  | { kind: 'traceSettings'; state: TraceSettingsState }
  | { kind: 'logSettings'; settings: LogSettings }
  | { kind: 'routes'; routes: RouteDocument[]; states: ReadonlyMap<string, RouteState> }
  | { kind: 'routeState'; route: string; state: RouteState }
  | { kind: 'aliases'; aliases: AliasTable }
  /** Asks to be told when routes, states and aliases up to this version are in force. */
  | { kind: 'confirmRouting'; version: number }
  | { kind: 'features'; documents: readonly FeatureDocument[]; transforms: Transforms }
  | { kind: 'featureRows'; rows: SpreadRows }
  | { kind: 'doorSchemas'; schemas: DoorSchemas }
  /** Asks for everything decided so far. */
  | { kind: 'flushRoutes' }
  | { kind: 'reply'; call: number; value: unknown }
  | { kind: 'refusal'; call: number; code: ErrorCode; message: string }
  | { kind: 'drain'; deadlineMs: number };

/** Calls a gateway thread makes to the control thread. */
export type ControlMethod =
  | 'repositoryIndex'
  | 'loadModel'
  | 'unloadModel'
  | 'traceSettings'
  | 'logSettings'
  | 'demand'
  | 'feedback'
  | 'features';

/** Gateway thread → control thread. */
export type GatewayEvent =
  | { kind: 'started' }
  | { kind: 'listening'; httpPort: number; grpcPort: number }
  | { kind: 'failed'; message: string }
  | { kind: 'table'; generation: number }
  /** Requests from now on are routed by this version. */
  | { kind: 'routing'; version: number }
  | { kind: 'call'; call: number; method: ControlMethod; args: unknown[] }
  | { kind: 'used'; models: string[] }
  | { kind: 'routes'; activity: RouteActivity }
  | { kind: 'routesFlushed' }
  /** Features joined since the thread started. */
  | { kind: 'featureJoins'; counts: JoinCounts }
  /** Requests that went against rules of their models' schemas, since the last such message. */
  | { kind: 'violations'; counts: DoorCounts }
  /** What models with training data were asked, since the last such message. */
  | { kind: 'liveStatistics'; statistics: LiveStatistics[] }
  /** Inference over topics since the thread started, by request topic. */
  | { kind: 'topics'; figures: Record<string, TopicFigures> }
  /** A log record that is too large for the ring. */
  | { kind: 'largeRecord'; record: ArrayBuffer }
  | { kind: 'drained' };
