import type { EventLogConfig } from '../config/event-log-schema.ts';
import type { KafkaConfig } from '../config/kafka-schema.ts';
import type { Redaction } from '../config/log-rule-schema.ts';
import type { MonitoringConfig } from '../config/monitoring-schema.ts';
import type { Lag } from '../kafka/lag.ts';
import type { MonitorPlan } from '../monitoring/stream.ts';
import type { MonitorEvent } from '../monitoring/types.ts';
import type { WebhookPolicy } from '../registry/webhooks/guard.ts';
import type { ErrorCode } from '../shared/errors.ts';
import type { LogSettings } from '../telemetry/log-settings.ts';
import type { LogCounts } from './counts.ts';
import type { RingMemory } from './handover/memory.ts';
import type { FeedbackRecord } from './record.ts';
import type { ReplayWish } from './replay/replay.ts';
import type { SinkFigures } from './sinks/runner.ts';

/** What the log thread starts with. */
export interface LogThreadData {
  config: EventLogConfig;
  /** Absolute: spool, cursors, payloads; files of sinks without a folder of their own. */
  dir: string;
  saltFile: string;
  kafka: KafkaConfig;
  monitoring: MonitoringConfig;
  webhooks: WebhookPolicy;
  /** One a gateway thread. */
  rings: RingMemory[];
  counts: LogCounts;
  logLevel: string;
  logSettings: LogSettings;
}

export type LogCall =
  | { method: 'status' }
  /** `redactions`: of each record. */
  | { method: 'feedback'; records: FeedbackRecord[]; redactions: Redaction[][] }
  /** The last `count` records, or those from number `from` on, as JSON texts. */
  | { method: 'tail'; count: number; from: number }
  | { method: 'verify' }
  | { method: 'startReplay'; wish: ReplayWish }
  | { method: 'replays' }
  | { method: 'replay'; id: string }
  | { method: 'cancelReplay'; id: string }
  /** How many labelled rows of a monitor there are of requests since a time. */
  | { method: 'labelled'; monitor: string; since: number }
  /** The same as a CSV file. */
  | { method: 'exportLabels'; monitor: string; since: number; file: string };

/** Control thread → log thread. */
export type LogCommand =
  | { kind: 'large'; ring: number; record: ArrayBuffer }
  | { kind: 'monitors'; plans: MonitorPlan[] }
  /** A monitor's event was taken in. */
  | { kind: 'heard'; number: number }
  | { kind: 'call'; call: number; what: LogCall }
  | { kind: 'stop'; ms: number };

/** Log thread → control thread. */
export type LogEvent =
  | { kind: 'started' }
  | { kind: 'failed'; message: string }
  | { kind: 'status'; status: LogStatus }
  /** `number`: see MonitorStream's Emit. */
  | { kind: 'monitor'; event: MonitorEvent; number: number; again: boolean }
  | { kind: 'reply'; call: number; value: unknown }
  /** `code`: of an error that the caller is told as it is. */
  | { kind: 'refusal'; call: number; message: string; code: ErrorCode | undefined }
  | { kind: 'stopped' };

/** Counts since the start. served + feedback = sampledOut + dropped… + waiting + spooled. */
export interface LogStatus {
  /** Requests that ended where logging is on. */
  served: number;
  feedback: number;
  sampledOut: number;
  /** No room in the ring: the log thread was behind. */
  droppedBehind: number;
  /** The spool was full, or its disk refused. */
  droppedDisk: number;
  /** The log thread ended before it took them. */
  droppedThread: number;
  /** Records that could not be encoded. */
  droppedEncoding: number;
  /** In the ring. */
  waiting: number;
  spooled: number;
  spool: {
    bytes: number;
    /** Numbers of the oldest record that is still here, and of the next one. */
    first: number;
    next: number;
    setAside: number;
    tornBytes: number;
    evicted: number;
    errors: number;
    lastError: string;
  };
  /** `bytes`: on the disk. `sent`, `sendErrors`, `lastError`: of the bucket, if there is one. */
  payloads: {
    bytes: number;
    stored: number;
    evicted: number;
    errors: number;
    sent: number;
    sendErrors: number;
    lastError: string;
  };
  sinks: SinkFigures[];
  /** Of the topics that monitors read; undefined: they read this server's log. */
  monitorLags: Lag[];
  monitorMessages: { read: number; unreadable: number; tombstone: number; replayed: number } | undefined;
}

export interface TailAnswer {
  records: string[];
  /** Number of the record behind the last one. */
  next: number;
}

export interface VerifyAnswer {
  segments: number;
  records: number;
  bytes: number;
  /** Damaged places: file and offset. */
  damaged: { segment: number; offset: number; bytes: number }[];
}
