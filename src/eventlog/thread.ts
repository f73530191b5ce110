import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { constants, getPriority, setPriority } from 'node:os';
import { join } from 'node:path';
import { type MessagePort, parentPort, workerData } from 'node:worker_threads';
import type { BucketConfig, SinkConfig } from '../config/event-log-schema.ts';
import { KafkaSource } from '../monitoring/kafka-source.ts';
import { type MonitorStores, MonitorStream, openStores } from '../monitoring/stream.ts';
import { steadyTime } from '../shared/clock.ts';
import { SwitchyardError } from '../shared/errors.ts';
import { createLogger, type Logger } from '../telemetry/logging.ts';
import { native } from '../tensor/native.ts';
import { beginCounting, DROPPED_DISK, DROPPED_ENCODING, FEEDBACK, SPOOLED, UNWRITTEN } from './counts.ts';
import { containerOf } from './encode/container.ts';
import { MESSAGES } from './encode/message-reader.ts';
import { RecordEncoder } from './encode/record-encoder.ts';
import { hashWith } from './encode/redact.ts';
import { payloadFolder } from './folders.ts';
import { countersOf, DROPPED, HANDED, LOST, SAMPLED_OUT, SERVED, TAKEN } from './handover/memory.ts';
import { RingReader } from './handover/ring-reader.ts';
import type { LogCall, LogCommand, LogEvent, LogStatus, LogThreadData } from './messages.ts';
import { PayloadSender } from './payload-sender.ts';
import { PayloadStore } from './payloads.ts';
import { LogPipeline } from './pipeline.ts';
import { Rate } from './rate.ts';
import { chooseSource, keptBy } from './replay/choose.ts';
import { Replays } from './replay/replays.ts';
import { OpenSinks } from './sinks/open-sinks.ts';
import { SinkRunner } from './sinks/runner.ts';
import { CursorFile } from './spool/cursor.ts';
import { Spool } from './spool/spool.ts';
import { tail, verify } from './spool/tail.ts';
import { SpoolSource } from './spool-source.ts';

/** Entry of the log thread: takes records out of the gateway threads' rings, and carries them to the spool and the sinks. */
const control = parentPort as MessagePort;
const data = workerData as LogThreadData;
const { config, dir } = data;

/** Between two looks at the rings: a record waits this long at most, and an idle thread costs next to nothing. */
const BUSY_MS = 5;
const IDLE_MS = 20;
const STATUS_MS = 250;
const RELEASE_MS = 1000;
const MONITOR_MS = 250;
/** Of the spool's limit. */
const FOR_OTHERS = 0.25;

function post(event: LogEvent): void {
  control.postMessage(event);
}

/** Linux schedules threads one by one. Elsewhere there is no such thing. */
function giveWay(): void {
  if (config.nice === 0 || process.platform !== 'linux') return;
  if (native !== undefined) {
    native.giveWay(config.nice);
    return;
  }
  const thread = Number(readlinkSync('/proc/thread-self').split('/').at(-1));
  setPriority(thread, Math.min(getPriority(thread) + config.nice, constants.priority.PRIORITY_LOW));
}

/** Drawn once and kept, so that a hashed value stays the same over restarts. */
function readSalt(): string {
  try {
    return readFileSync(data.saltFile, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || config.saltFile !== undefined) throw error;
  }
  const salt = randomBytes(32).toString('hex');
  writeFileSync(data.saltFile, `${salt}\n`, { mode: 0o600, flag: 'wx' });
  return salt;
}

async function sendPayloads(payloads: PayloadStore, bucket: BucketConfig, logger: Logger): Promise<PayloadSender> {
  const { BucketStore } = await import('./sinks/bucket-store.ts');
  return new PayloadSender(payloads, new BucketStore(bucket), logger);
}

async function run(): Promise<void> {
  giveWay();
  const { logger } = createLogger({ thread: 'log', settings: data.logSettings });
  logger.level = data.logLevel;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const payloads = new PayloadStore(payloadFolder(dir), config.payloads.maxBytes, config.spool.fsync === 'always');
  const sender = config.payloads.s3 && (await sendPayloads(payloads, config.payloads.s3, logger));
  const spool = new Spool({ dir: join(dir, 'spool'), ...config.spool });
  const file = join(dir, 'monitor-labels.db');
  function openMonitors(): MonitorStores | undefined {
    const again =
      'what monitors have counted of windows that are not full, and labels that wait, is lost if the server ends';
    try {
      return openStores(file, (err) => logger.error({ err, file }, again));
    } catch (err) {
      logger.error({ err, file }, `${again}; mend the disk or delete the file, and start the server again`);
      return undefined;
    }
  }
  const hash = hashWith(readSalt());
  const encoder = new RecordEncoder(
    hash,
    (bytes) => payloads.put(bytes),
    (record) => containerOf([{ u8: record, start: 0, end: record.length }], 'inference'),
  );
  const rings = data.rings.map((memory) => new RingReader(memory));
  const counts = beginCounting(data.counts.memory, data.rings, spool);
  const pipeline = new LogPipeline(rings, encoder, spool, counts, hash);
  const monitors = new MonitorStream(
    (event, number, again) => post({ kind: 'monitor', event, number, again }),
    openMonitors,
  );
  const topics =
    data.monitoring.source === 'kafka'
      ? new KafkaSource(data.kafka, data.monitoring, monitors, MESSAGES, logger)
      : undefined;
  const feed = topics === undefined ? new SpoolSource(spool, monitors, existsSync(file)) : undefined;
  const counters = data.rings.map(countersOf);
  const total = (which: number): number => counters.reduce((sum, own) => sum + own[which], 0);
  const arriving = new Rate();

  const { kafka, webhooks } = data;
  const sinks = new OpenSinks({ dir, kafka, webhooks, keep: (bytes) => payloads.put(bytes), logger });
  const wanted = config.sinks;
  const runners: SinkRunner[] = [];
  for (const [i, sink] of wanted.entries()) {
    const cursor = new CursorFile(join(dir, `${sink.name}.cursor`));
    const own = new Float64Array(data.counts.sinks[i]);
    const parts = {
      spool,
      cursor,
      arriving: () => arriving.perSecond,
      counts: own,
      spooled: counts[SPOOLED],
      log: logger,
    };
    runners.push(new SinkRunner(sink.name, sink.kind, await sinks.live(sink, cursor), parts));
  }

  const replays = new Replays({
    spool,
    sinks: wanted.map(({ name }) => name),
    async origin(target, asked) {
      const sink = chooseSource(wanted, target, asked);
      if (sink === undefined) return undefined;
      const runner = runners[wanted.indexOf(sink)];
      const files = await keptBy(sink, sinks.folderOf(sink));
      return { name: sink.name, files, arrived: () => runner.arrived, log: sinks.logOf(sink) };
    },
    open(target, mark) {
      const sink = wanted.find(({ name }) => name === target) as SinkConfig;
      return sinks.replaying(sink, mark);
    },
  });

  function status(): LogStatus {
    const { first, next } = { first: spool.oldest.record, next: spool.end.record };
    return {
      served: total(SERVED),
      feedback: counts[FEEDBACK],
      sampledOut: total(SAMPLED_OUT),
      droppedBehind: total(DROPPED),
      droppedDisk: counts[DROPPED_DISK],
      droppedThread: total(LOST) + counts[UNWRITTEN],
      droppedEncoding: counts[DROPPED_ENCODING],
      waiting: total(HANDED) - total(TAKEN),
      spooled: counts[SPOOLED],
      spool: {
        bytes: spool.bytes,
        first,
        next,
        setAside: spool.setAside,
        tornBytes: spool.tornBytes,
        evicted: spool.evicted,
        errors: spool.errors,
        lastError: spool.lastError,
      },
      payloads: {
        bytes: payloads.bytes,
        stored: payloads.stored,
        evicted: payloads.evicted,
        errors: payloads.errors,
        sent: sender?.sent ?? 0,
        sendErrors: sender?.errors ?? 0,
        lastError: sender?.lastError ?? '',
      },
      sinks: runners.map((runner) => runner.figures()),
      monitorMessages: topics?.counts,
      monitorLags: topics?.lags() ?? [],
    };
  }

  let pumping = true;
  function pump(): void {
    if (!pumping) return;
    const count = pipeline.pump();
    arriving.add(count, Date.now());
    if (count > 0) for (const runner of runners) runner.notify();
    const more = feed?.step(steadyTime()) === true;
    if (more || rings.some(({ fill }) => fill > 0.05)) setImmediate(pump);
    else setTimeout(pump, count > 0 ? BUSY_MS : IDLE_MS);
  }

  /** Deletes what nobody needs any more. Monitors and replays may ask for a part of the spool: they must never fill it. */
  function release(): void {
    sender?.notify();
    for (const runner of runners) runner.save();
    const needed = runners.map(({ released }) => released);
    if (spool.bytes < FOR_OTHERS * config.spool.maxBytes)
      for (const other of [feed?.released, replays.released]) if (other !== undefined) needed.push(other);
    spool.release(needed);
  }

  /** May be a promise. */
  function answer(what: LogCall): unknown {
    switch (what.method) {
      case 'status':
        return status();
      case 'feedback': {
        const kept = pipeline.recordFeedback(what.records, what.redactions);
        for (const runner of runners) runner.notify();
        return kept;
      }
      case 'tail':
        return tail(spool, what.count, what.from);
      case 'verify':
        return verify(spool);
      case 'startReplay':
        return replays.start(what.wish);
      case 'replays':
        return replays.list();
      case 'replay':
        return replays.get(what.id);
      case 'cancelReplay':
        return replays.cancel(what.id);
      case 'labelled':
        return monitors.labelled(what.monitor, what.since);
      case 'exportLabels':
        return monitors.export(what.monitor, what.since, what.file);
    }
  }

  async function reply({ call, what }: Extract<LogCommand, { kind: 'call' }>): Promise<void> {
    try {
      const value = answer(what);
      post({ kind: 'reply', call, value: value instanceof Promise ? await value : value });
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      post({ kind: 'refusal', call, message, code: error instanceof SwitchyardError ? error.code : undefined });
    }
  }

  /** Everything that was handed over is spooled, then sent as far as time allows. */
  async function stop(ms: number): Promise<void> {
    pumping = false;
    await replays.stop();
    await topics?.close();
    while (pipeline.pump() > 0);
    spool.flush();
    while (feed?.step(steadyTime()) === true);
    monitors.close();
    await Promise.all([...runners.map((runner) => runner.stop(ms)), sender?.stop(ms)]);
    release();
    spool.close();
    post({ kind: 'status', status: status() });
    post({ kind: 'stopped' });
  }

  control.on('message', (command: LogCommand) => {
    switch (command.kind) {
      case 'large':
        pipeline.large(command.ring, command.record);
        for (const runner of runners) runner.notify();
        break;
      case 'monitors':
        monitors.set(command.plans);
        topics?.follow(command.plans.map(({ spec }) => spec));
        break;
      case 'heard':
        monitors.heard(command.number);
        break;
      case 'call':
        void reply(command);
        break;
      case 'stop':
        void stop(command.ms);
        break;
    }
  });
  for (const runner of runners) runner.start();
  setInterval(() => post({ kind: 'status', status: status() }), STATUS_MS);
  setInterval(release, RELEASE_MS);
  setInterval(() => monitors.tick(steadyTime()), MONITOR_MS);
  pump();
  post({ kind: 'started' });
}

run().catch((error: unknown) =>
  post({ kind: 'failed', message: error instanceof Error ? error.message : String(error) }),
);
