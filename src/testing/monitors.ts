import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitoringSchema } from '../config/monitoring-schema.ts';
import { Datasets } from '../datasets/entities/datasets.ts';
import { keepLabelledRows } from '../datasets/entities/labelled-rows.ts';
import { recordJson } from '../eventlog/encode/json.ts';
import { RecordFinder } from '../eventlog/find.ts';
import type { FeedbackRecord, LogRecord } from '../eventlog/record.ts';
import { Monitors } from '../monitoring/monitors.ts';
import { MonitorStream } from '../monitoring/stream.ts';
import type { MonitorListener } from '../monitoring/types.ts';
import type { Training } from '../training/training.ts';
import { contradictions } from '../validation/anomalies.ts';
import { DataSchemas } from '../validation/schemas.ts';
import { PipelinesUnderTest } from './pipelines.ts';
import { RegistryClient } from './registry-client.ts';
import { trainingUnderTest } from './training.ts';

/**
 * Monitors with everything behind them, in one process: the stream that counts, the store, the engine of pipelines, jobs
 * as real processes, the registry. Only the sockets and the log thread are left out: records are given by hand.
 */
export class MonitorsUnderTest {
  readonly under: PipelinesUnderTest;
  readonly training: Training;
  readonly client: RegistryClient;
  readonly datasets: Datasets;
  readonly schemas: DataSchemas;
  readonly monitors: Monitors;
  readonly log: { level: string; message: string; fields: Record<string, unknown> }[] = [];
  /** Where records are kept, as the sink of kind `files` does it. */
  readonly folder: string;
  private readonly stream: MonitorStream;
  private readonly timer: NodeJS.Timeout;
  private listener: MonitorListener = async () => false;
  private count = 0;

  private constructor(under: PipelinesUnderTest, training: Training) {
    this.under = under;
    this.training = training;
    this.client = new RegistryClient(under.registry.url);
    this.datasets = new Datasets(under.registry.registry);
    this.schemas = new DataSchemas(under.registry.registry, this.datasets);
    this.folder = join(under.folder, 'records');
    mkdirSync(this.folder);
    this.stream = new MonitorStream((event) => void this.listener(event, false));
    this.timer = setInterval(() => this.stream.tick(Date.now()), 100);
    this.monitors = new Monitors({
      config: monitoringSchema.parse({}),
      baseDir: under.folder,
      dataDir: under.folder,
      feed: {
        monitor: (plans, listener) => {
          this.listener = listener;
          this.stream.set(plans);
        },
        labelledRows: async (monitor, since) => this.stream.labelled(monitor, since),
        exportLabels: async (monitor, since, file) => this.stream.export(monitor, since, file),
      },
      registry: async () => under.registry.registry,
      keepRows: (rows) => keepLabelledRows(this.datasets, rows),
      checkRows: async (rows, { schema: name, version }, monitor) => {
        const { schema } = await this.schemas.get(name, version);
        const { anomalies } = await this.schemas.validate(rows, schema, undefined, { actor: `monitor ${monitor}` });
        return contradictions(anomalies);
      },
      pipelines: under.pipelines,
      rollout: () => undefined,
      records: new RecordFinder({ folders: { files: this.folder }, log: undefined, others: [] }),
      log: (level, message, fields) =>
        void this.log.push({ level, message, fields: fields as Record<string, unknown> }),
    });
  }

  /** @param pipelines a file of documents */
  static async open(pipelines: string): Promise<MonitorsUnderTest> {
    const folder = mkdtempSync(join(tmpdir(), 'monitors-'));
    writeFileSync(join(folder, 'pipelines.yaml'), pipelines);
    let training: Training | undefined;
    const under = await PipelinesUnderTest.open(['pipelines.yaml'], folder, async (registry) => {
      ({ training } = await trainingUnderTest(registry));
      return training.jobs;
    });
    const open = new MonitorsUnderTest(under, training as Training);
    await under.pipelines.start();
    await open.monitors.start();
    return open;
  }

  async close(): Promise<void> {
    clearInterval(this.timer);
    await this.monitors.close();
    await this.under.close(() => this.training.close());
  }

  watch(name: string, spec: object): Promise<void> {
    const body = { apiVersion: 'switchyard/v1', kind: 'Monitor', metadata: { name }, spec };
    return this.monitors.change([{ name, body }], false);
  }

  /** One request as the log thread has it, kept as the log keeps it. Returns its id. */
  ask(record: Partial<LogRecord> & Pick<LogRecord, 'model' | 'features' | 'predictions'>): string {
    const whole = {
      time: Date.now(),
      version: '1',
      digest: `d${record.version ?? '1'}`,
      route: '',
      variant: '',
      tenant: 'acme',
      entity: '',
      status: 'ok',
      shadow: false,
      redactions: [],
      ...record,
      id: `thread-${(this.count++).toString(36)}`,
    };
    // The sink's order, by which lines are found; what else a record has does not matter here.
    const { id, time, ...rest } = whole;
    const kept = { id, time, latencyMs: 1, ...rest } as LogRecord;
    writeFileSync(join(this.folder, 'inference-000000000000000.jsonl'), `${recordJson(kept)}\n`, { flag: 'a' });
    this.stream.consume([kept]);
    return id;
  }

  label(id: string, model: string, label: unknown): void {
    const record = { id, time: Date.now(), route: '', model, rewards: {}, label: JSON.stringify(label), tenant: '' };
    this.stream.feedback([record as FeedbackRecord]);
  }
}
