import type { AdminServices } from '../admin/services.ts';
import { configSchema } from '../config/schema.ts';
import { emptyStatus } from '../eventlog/metrics.ts';
import type { ReplayView } from '../eventlog/replay/replay.ts';
import type { FeatureDocument } from '../features/documents/schema.ts';
import type { MonitorView } from '../monitoring/view.ts';
import type { ServingTable, ServingVersion, VersionStatus } from '../pipeline/types.ts';
import { RegistryFront } from '../registry/front.ts';
import { allocateChunk } from '../telemetry/metrics-block.ts';
import { Column } from '../telemetry/metrics-layout.ts';
import { MetricsReader } from '../telemetry/metrics-reader.ts';
import { TENANT_COLUMNS, TenantColumn } from '../telemetry/tenant-metrics.ts';
import type { Evaluation } from '../training/evaluation/store.ts';
import type { Jobs, JobView } from '../training/jobs/jobs.ts';
import { readJob } from '../training/jobs/read.ts';
import type { FullRunView } from '../training/pipelines/view.ts';
import type { Sweeps, SweepView, TrialView } from '../training/sweeps/sweeps.ts';
import type { Triggers } from '../training/triggers/triggers.ts';
import { modelConfig } from './models.ts';

const DONE: JobView = {
  id: 'job1',
  name: 'digits',
  labels: {},
  runner: 'process',
  status: 'succeeded',
  reason: '',
  attempt: 1,
  exitCode: 0,
  signal: null,
  runId: 'run1',
  experimentId: '0',
  progress: 1,
  metrics: { loss: 0.5 },
  createdAt: 1,
  startedAt: 2,
  endedAt: 3,
  parent: null,
  actor: 'operator',
};
const LOG = Buffer.from('loss=0.5\n');

/** One job, which has succeeded. */
const jobs: Jobs = {
  list: async () => ({ jobs: [DONE], nextPageToken: '' }),
  get: async () => DONE,
  history: async () => [{ at: 1, status: 'queued', reason: '', actor: 'operator' }],
  subscribe: () => () => {},
  submit: async () => DONE,
  validate: (document) => Promise.resolve(readJob(document)),
  pinInputs: async (inputs) => ({ inputs: [...inputs], notes: [] }),
  cancel: async () => DONE,
  retry: async () => DONE,
  remove: async () => {},
  logs: async (_id, _attempt, offset, limit) => {
    const bytes = LOG.subarray(offset, offset + limit);
    return { bytes, next: offset + bytes.length, end: true };
  },
  ended: async () => DONE,
};

const TRIAL: TrialView = {
  number: 0,
  params: { lr: 0.1 },
  status: 'complete',
  reason: '',
  jobId: 'job1',
  runId: 'run1',
  value: 0.5,
  lastStep: 3,
  createdAt: 1,
  endedAt: 3,
};
const SWEEP: SweepView = {
  id: 'sweep1',
  name: 'digits-search',
  status: 'succeeded',
  reason: 'all trials were made',
  algorithm: 'tpe',
  objective: { type: 'minimize', metric: 'loss', strategy: 'latest' },
  maxTrialCount: 1,
  trials: { pending: 0, running: 0, stopping: 0, complete: 1, stopped: 0, failed: 0, cancelled: 0 },
  best: TRIAL,
  runId: 'run0',
  experimentId: '0',
  actor: 'operator',
  createdAt: 1,
  endedAt: 3,
};

/** One sweep, which has succeeded. */
const sweeps: Sweeps = {
  submit: async () => SWEEP,
  get: async () => SWEEP,
  list: async () => ({ sweeps: [SWEEP], nextPageToken: '' }),
  trials: async () => ({ trials: [TRIAL], nextPageToken: '' }),
  cancel: async () => SWEEP,
  close: async () => {},
};

export interface FakeAdmin {
  services: AdminServices;
  /** Calls to the control plane, in order. */
  calls: { method: string; args: unknown[] }[];
  state: { ready: boolean; index: { name: string; versions: VersionStatus[] }[]; failure: Error | undefined };
  logged: unknown[];
}

/** Admin services over plain data: model "digits" version 1 is ready, "broken" is not. */
export function fakeAdmin(settings: Record<string, unknown> = {}): FakeAdmin {
  const config = configSchema.parse(settings);
  const calls: FakeAdmin['calls'] = [];
  const logged: unknown[] = [];
  const state: FakeAdmin['state'] = {
    ready: true,
    index: [
      { name: 'broken', versions: [{ version: '1', state: 'UNAVAILABLE', reason: 'no such file' }] },
      { name: 'digits', versions: [{ version: '1', state: 'READY', reason: '' }] },
    ],
    failure: undefined,
  };
  const version: ServingVersion = {
    handle: 1,
    model: 'digits',
    version: '1',
    config: modelConfig({ name: 'digits', raw: { name: 'digits' } }),
    executors: [0],
    absence: '',
    cacheIdentity: '1',
    metricsRow: 0,
    memoryBytes: 0,
  };
  const table: ServingTable = {
    generation: 1,
    models: new Map([['digits', { name: 'digits', versions: [version], index: [], onDemand: false }]]),
  };
  const reader = new MetricsReader();
  const chunk = allocateChunk();
  reader.addChunk('gateway-0', chunk);
  new Float64Array(chunk)[Column.success] = 3;
  new Float64Array(chunk)[Column.failure] = 1;
  new Float64Array(chunk)[Column.cpuSeconds] = 0.5;
  const figures = new Float64Array(TENANT_COLUMNS);
  figures[TenantColumn.requests] = 4;
  const reload = { generation: 1, problems: [] as string[], applied: [] as string[], restartNeeded: [] as string[] };
  const pipelineRun = {
    id: '0123456789abcdef',
    pipeline: 'digits',
    status: 'running',
    steps: [],
  } as unknown as FullRunView;
  const triggers = {
    list: async () => [{ name: 'nightly' }],
    get: async (name: string) => ({ name }),
    firings: async () => [],
    fire: async (name: string) => ({ name }),
    webhook: async (name: string) => ({ name }),
  };
  const replay = {
    id: '1',
    mark: 'aa',
    sink: 'files',
    status: 'succeeded',
    sent: 1,
    error: '',
    started_at: 1,
  } as ReplayView;
  const monitor = { name: 'digits', model: 'digits', level: 'ok' } as unknown as MonitorView;
  const services: AdminServices = {
    config: () => config,
    control: {
      repositoryIndex: async () => state.index,
      call: async (method, args) => {
        calls.push({ method, args });
        if (state.failure !== undefined) throw state.failure;
        return { log_info: true };
      },
    },
    manager: { table: () => table },
    hub: {
      prometheus: async () => 'nv_inference_count 3\n',
      reader,
      rows: { names: () => [{ row: version.metricsRow, model: 'digits', version: '1' }] },
      tenants: () => [{ tenant: 'acme', figures }],
    },
    skew: { report: async () => [] },
    monitors: {
      documents: () => [],
      change: async () => {},
      reload: async () => [],
      list: async () => [monitor],
      get: async (name: string) => ({ ...monitor, name, document: {} as never }),
      windows: async () => [],
      lineage: async () => [],
      alerts: async () => [],
      origin: async () => [],
      trace: async (id) => ({
        id,
        place: '',
        reason: 'no record of it is kept, nor any other',
        oldest_record: null,
        searched: ['spool'],
        problems: [],
        request: null,
        record: null,
        monitors: [],
      }),
      reset: async (name: string) => ({ ...monitor, name }),
    },
    eventLog: {
      status: async () => emptyStatus(),
      tail: async () => ({ records: ['{"id":"one"}'], next: 1 }),
      payload: async () => '{}',
      verify: async () => ({ segments: 1, records: 1, bytes: 10, damaged: [] }),
      startReplay: async () => replay,
      replays: async () => [replay],
      replay: async (id: string) => ({ ...replay, id }),
      cancelReplay: async (id: string) => ({ ...replay, id }),
    },
    reloader: { status: reload, reload: () => reload },
    pool: {
      describe: () => ({
        executors: [{ id: 0, compute: true }],
        versions: [{ model: 'digits', version: '1', executors: [0], memoryBytes: 1000 }],
      }),
    },
    fleet: {
      get ready() {
        return state.ready;
      },
      ids: () => [0],
    },
    registry: new RegistryFront(
      () => Promise.reject(new Error('no registry in this test')),
      () => {},
    ),
    routes: {
      status: () => ({ generation: 1, problems: [] }),
      list: () => ['a', 'b'].map((name) => ({ name, row: { name, strategy: 'weighted' } })),
      get: (name) => ({ name }),
      mismatches: () => [],
      reload: async () => [],
      change: async (...args) => void calls.push({ method: 'changeRoutes', args }),
      command: async (...args) => {
        calls.push({ method: 'commandRoute', args });
        return { name: args[0] };
      },
    },
    training: { get: async () => ({ jobs, sweeps }) },
    pipelines: {
      documents: (kind) => [{ name: 'digits', origin: 'api', document: { kind } }],
      change: async (...args) => void calls.push({ method: 'changePipelines', args }),
      reload: () => [],
      run: async (wish) => {
        calls.push({ method: 'runPipeline', args: [wish] });
        return pipelineRun;
      },
      runs: async () => [],
      getRun: async () => pipelineRun,
      cancel: async () => pipelineRun,
      resume: async () => pipelineRun,
      triggers: async () => triggers as unknown as Triggers,
      evaluation: async (id) => ({ id, key: 1 }) as Evaluation,
      evaluations: async () => [],
      compare: async (model) => ({ model, dataset: null, versions: [], missing: [], metrics: [] }),
      promote: async (wish) => wish,
    },
    features: {
      documents: (kind) => [{ name: 'digits', origin: 'api', document: { kind } as FeatureDocument }],
      change: async (...args) => void calls.push({ method: 'changeFeatures', args }),
      reload: () => [],
      online: async () => '{"results":[],"metadata":{"feature_names":[]}}',
      push: async () => ({ rows: 1, kept: 1 }),
      materialize: async () => [],
      historical: async () => ({ rows: 0, columns: {} }),
      fit: async ({ name, actor }) => ({ name, version: 1, digest: '', columns: [], state: [], actor, created_at: 1 }),
      transforms: async () => [],
    },
    version: '1.2.3',
    logger: { error: (...entry: unknown[]) => void logged.push(entry) },
  };
  return { services, calls, state, logged };
}
