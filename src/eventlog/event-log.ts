import { join, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import type { FilesSinkConfig } from '../config/event-log-schema.ts';
import { topicThreads } from '../config/kafka-schema.ts';
import type { Config } from '../config/schema.ts';
import type { Lag } from '../kafka/lag.ts';
import type { MonitorPlan } from '../monitoring/stream.ts';
import type { Exported, MonitorListener } from '../monitoring/types.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { readEvents } from '../shared/feedback-events.ts';
import { programFile } from '../shared/program-files.ts';
import type { LogSettings } from '../telemetry/log-settings.ts';
import type { Logger } from '../telemetry/logging.ts';
import { allocateCounts } from './counts.ts';
import { recordJson } from './encode/json.ts';
import { answerOf, type FeedbackAnswer, feedbackRecords, mergeResults } from './feedback.ts';
import { feedbackRedactions } from './feedback-rules.ts';
import { eventLogRoot, payloadFolder } from './folders.ts';
import { allocateRing, countersOf, LARGE, LOST, type RingMemory, TAKEN, wordsOf } from './handover/memory.ts';
import type { RouteRule } from './handover/targets.ts';
import type { LogCall, LogCommand, LogEvent, LogStatus, LogThreadData, TailAnswer, VerifyAnswer } from './messages.ts';
import { logMetrics } from './metrics.ts';
import { PayloadReader } from './payload-reader.ts';
import type { FeedbackRecord } from './record.ts';
import type { ReplayView, ReplayWish } from './replay/replay.ts';

const RESTART_MS = 1000;
const DEFAULT_SINK: FilesSinkConfig = {
  name: 'files',
  kind: 'files',
  format: 'jsonl',
  rotateBytes: 128 * 1024 * 1024,
  rotateAfter: 3_600_000,
  keepFiles: 1000,
  partitionBy: [],
};

export interface EventLogDependencies {
  config: Config;
  dataDir: string;
  /** What the configuration's relative paths are relative to. */
  baseDir: string;
  logSettings: LogSettings;
  logger: Logger;
  /** What routes say of logging now. */
  routeRules(): readonly RouteRule[];
}

/**
 * The event log as the control thread sees it: owns the rings, starts the log thread, starts it again when it ends, and
 * asks it. Requests never notice whether it runs.
 */
export class EventLog {
  /** One a gateway thread. */
  readonly rings: readonly RingMemory[];
  private readonly data: LogThreadData;
  private readonly payloads: PayloadReader;
  private readonly logger: Logger;
  private readonly routeRules: () => readonly RouteRule[];
  private worker: Worker | undefined;
  private last: LogStatus | undefined;
  private readonly calls = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  private callCount = 0;
  private stopping = false;
  private stopped: (() => void) | undefined;
  private restarts = 0;
  private plans: MonitorPlan[] = [];
  private onMonitor: MonitorListener | undefined;

  constructor({ config, dataDir, baseDir, logSettings, logger, routeRules }: EventLogDependencies) {
    this.routeRules = routeRules;
    const { eventLog, kafka, monitoring, threads, telemetry, registry } = config;
    const dir = eventLogRoot(eventLog.dir, dataDir, baseDir);
    this.rings = Array.from({ length: threads.gateways + topicThreads(kafka) }, () =>
      allocateRing(eventLog.bufferBytes),
    );
    this.logger = logger;
    const sinks = (eventLog.sinks.length === 0 ? [DEFAULT_SINK] : eventLog.sinks).map((sink) =>
      sink.kind === 'files' && sink.dir !== undefined ? { ...sink, dir: resolve(baseDir, sink.dir) } : sink,
    );
    this.payloads = new PayloadReader(payloadFolder(dir), eventLog.payloads.s3);
    this.data = {
      config: { ...eventLog, sinks },
      dir,
      saltFile: eventLog.saltFile === undefined ? join(dir, 'salt') : resolve(baseDir, eventLog.saltFile),
      kafka,
      monitoring,
      webhooks: registry.webhooks,
      rings: [...this.rings],
      counts: allocateCounts(sinks.length),
      logLevel: telemetry.logLevel,
      logSettings,
    };
  }

  /** Resolves when the log thread runs. Rejects when it cannot: a spool that cannot be made is an error of the settings. */
  start(): Promise<void> {
    return this.spawn();
  }

  /** A record that is too large for a ring. */
  large(ring: number, record: ArrayBuffer): void {
    if (this.worker !== undefined) {
      this.send({ kind: 'large', ring, record }, [record]);
      return;
    }
    const counters = countersOf(this.rings[ring]);
    counters[TAKEN]++;
    counters[LOST]++;
    Atomics.sub(wordsOf(this.rings[ring]), LARGE, record.byteLength);
  }

  /**
   * Writes down labels and rewards, and says of each event whether it was taken. `learn` is for those that an experiment
   * or a bandit waits for. Rejects with invalid_argument for what is no list of events.
   * @param tenant who sends them; '': they are for all tenants
   */
  async feedback(
    body: unknown,
    tenant: string,
    learn: (body: unknown) => Promise<FeedbackAnswer>,
  ): Promise<FeedbackAnswer> {
    const records = feedbackRecords(readEvents(body), Date.now(), tenant);
    const [{ results }, kept] = await Promise.all([
      learn(body),
      this.keep(records).then(
        () => true,
        () => false,
      ),
    ]);
    return answerOf(mergeResults(results, records, kept));
  }

  /**
   * Writes down events of a topic, of which is known what those who learn from them say. Rejects with unavailable when they
   * are not kept: they must come again.
   */
  async feedbackOfTopic<T extends { id: string; result: string }>(
    events: readonly unknown[],
    learnt: readonly T[],
  ): Promise<(T | FeedbackAnswer['results'][number])[]> {
    const records = feedbackRecords(events, Date.now(), '');
    await this.keep(records);
    return mergeResults(learnt, records, true);
  }

  /** Resolves when they are in the spool. Rejects with unavailable when they are in no place. */
  private async keep(records: readonly (FeedbackRecord | undefined)[]): Promise<void> {
    const some = records.filter((record) => record !== undefined);
    const routes = this.routeRules();
    const redactions = some.map((record) => feedbackRedactions(record, this.data.config, routes));
    if (some.length === 0 || (await this.ask<boolean>({ method: 'feedback', records: some, redactions }))) return;
    throw new SwitchyardError('unavailable', "the event log's spool is full, or its disk refuses what is written");
  }

  status(): Promise<LogStatus> {
    return this.ask({ method: 'status' });
  }

  tail(count: number, from: number): Promise<TailAnswer> {
    return this.ask({ method: 'tail', count, from });
  }

  /**
   * A whole record whose values are kept by reference, as JSON. Rejects as PayloadReader.read.
   */
  async payload(sha256: string): Promise<string> {
    return recordJson(await this.payloads.read(sha256));
  }

  verify(): Promise<VerifyAnswer> {
    return this.ask({ method: 'verify' });
  }

  /** Sends a range of the log to one of its sinks again. Rejects as Replays.start. */
  startReplay(wish: ReplayWish): Promise<ReplayView> {
    return this.ask({ method: 'startReplay', wish });
  }

  /** The newest first. */
  replays(): Promise<ReplayView[]> {
    return this.ask({ method: 'replays' });
  }

  /** Rejects with not_found. */
  replay(id: string): Promise<ReplayView> {
    return this.ask({ method: 'replay', id });
  }

  /** Rejects with not_found. */
  cancelReplay(id: string): Promise<ReplayView> {
    return this.ask({ method: 'cancelReplay', id });
  }

  /** What is counted of requests from now on, and who is told. A log thread that is started anew begins with it. */
  monitor(plans: MonitorPlan[], listener: MonitorListener): void {
    this.plans = plans;
    this.onMonitor = listener;
    this.send({ kind: 'monitors', plans });
  }

  labelledRows(monitor: string, since: number): Promise<number> {
    return this.ask({ method: 'labelled', monitor, since });
  }

  exportLabels(monitor: string, since: number, file: string): Promise<Exported> {
    return this.ask({ method: 'exportLabels', monitor, since, file });
  }

  /** Of the topics that monitors read. */
  lags(): Lag[] {
    return this.last?.monitorLags ?? [];
  }

  /** In Prometheus' text format; what the log thread counted within the last quarter of a second. */
  metrics(): string {
    return this.last === undefined ? '' : logMetrics(this.last, this.restarts);
  }

  /** After the gateway threads ended: spools what they handed over, and sends what `ms` allow. */
  async close(ms: number): Promise<void> {
    this.stopping = true;
    const { worker } = this;
    if (worker === undefined) return;
    await new Promise<void>((done) => {
      this.stopped = done;
      this.send({ kind: 'stop', ms });
    });
    await worker.terminate();
  }

  private spawn(): Promise<void> {
    const worker = new Worker(programFile('eventlog/thread'), { workerData: this.data, name: 'log' });
    return new Promise((started, failed) => {
      worker.on('message', (event: LogEvent) => {
        if (event.kind === 'started') {
          this.worker = worker;
          if (this.plans.length > 0) this.send({ kind: 'monitors', plans: this.plans });
          started();
        } else if (event.kind === 'failed') {
          failed(new Error(`the event log cannot start: ${event.message}`));
          void worker.terminate();
        } else this.handle(event);
      });
      worker.on('error', (error) => {
        this.logger.error({ err: error }, 'the log thread failed');
        failed(error);
      });
      worker.on('exit', () => this.ended(worker));
    });
  }

  private handle(event: LogEvent): void {
    switch (event.kind) {
      case 'status':
        this.last = event.status;
        break;
      case 'monitor':
        void this.tell(event);
        break;
      case 'reply':
        this.calls.get(event.call)?.resolve(event.value as never);
        this.calls.delete(event.call);
        break;
      case 'refusal':
        this.calls
          .get(event.call)
          ?.reject(
            event.code === undefined
              ? new SwitchyardError('internal', `the event log: ${event.message}`)
              : new SwitchyardError(event.code, event.message),
          );
        this.calls.delete(event.call);
        break;
      case 'stopped':
        this.stopped?.();
        break;
    }
  }

  /** What is not taken in is told again by the next log thread. */
  private async tell({ event, number, again }: Extract<LogEvent, { kind: 'monitor' }>): Promise<void> {
    const taken = await this.onMonitor?.(event, again);
    if (taken === true && number > 0) this.send({ kind: 'heard', number });
  }

  private ended(worker: Worker): void {
    if (this.worker !== worker) return;
    this.worker = undefined;
    for (const { reject } of this.calls.values()) reject(away());
    this.calls.clear();
    this.stopped?.();
    if (this.stopping) return;
    this.restarts++;
    this.logger.error({ restarts: this.restarts }, 'the log thread ended; it is started again, and requests go on');
    const again = (): void => {
      if (this.stopping) return;
      this.spawn().catch(() => setTimeout(again, RESTART_MS));
    };
    setTimeout(again, RESTART_MS);
  }

  private ask<T>(what: LogCall): Promise<T> {
    if (this.worker === undefined) return Promise.reject(away());
    const call = ++this.callCount;
    return new Promise<T>((resolve, reject) => {
      this.calls.set(call, { resolve, reject });
      this.send({ kind: 'call', call, what });
    });
  }

  private send(command: LogCommand, transfer: ArrayBuffer[] = []): void {
    this.worker?.postMessage(command, transfer);
  }
}

function away(): SwitchyardError {
  return new SwitchyardError('unavailable', 'the log thread is being started; try again in a moment', {
    retryAfterMs: RESTART_MS,
  });
}
