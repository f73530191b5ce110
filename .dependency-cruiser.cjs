/**
 * docs/architecture.md's table of folders as rules. A folder may import itself, shared/, the config types and what is
 * listed here; tests and src/testing may import anything.
 */
const allowed = {
  shared: [],
  tensor: [],
  config: ['tensor'],
  protocol: ['tensor', 'pipeline/types', 'server/services'],
  admission: [],
  batching: ['tensor'],
  backends: ['tensor'],
  cache: ['tensor', 'pipeline/types'],
  telemetry: ['pipeline/types'],
  executor: ['backends', 'batching', 'models', 'tensor', 'telemetry'],
  pipeline: ['admission', 'batching', 'cache', 'executor/frame', 'executor/messages', 'routing', 'tensor'],
  models: ['backends', 'batching', 'pipeline/types', 'tensor'],
  routing: ['experiments/statistics'],
  experiments: ['routing', 'tensor'],
  'server/http': ['protocol', 'pipeline', 'server/services', 'admission', 'telemetry', 'tensor'],
  'server/grpc': ['protocol', 'pipeline', 'server/services', 'admission', 'tensor'],
  gateway: ['admission', 'cache', 'eventlog/handover', 'experiments/statistics', 'features', 'pipeline', 'routing', 'server', 'telemetry', 'tensor', 'topics', 'validation/door'],
  control: [
    'admission',
    'backends',
    'eventlog/handover',
    'executor',
    'experiments',
    'features',
    'gateway',
    'kafka',
    'models',
    'pipeline/routed',
    'pipeline/types',
    'routing',
    'server/http',
    'telemetry',
    'topics',
    'validation/door',
  ],
  kafka: ['tensor/checksum'],
  topics: ['kafka', 'pipeline/types', 'protocol', 'telemetry', 'tensor'],
  registry: [],
  datasets: ['eventlog/record', 'kafka', 'registry', 'tensor'],
  monitoring: ['eventlog/record', 'experiments/statistics', 'kafka', 'registry', 'telemetry', 'training'],
  eventlog: ['kafka', 'monitoring', 'pipeline/routed/record', 'pipeline/types', 'protocol/json/number-print', 'registry/webhooks', 'telemetry', 'tensor'],
  features: ['datasets', 'kafka', 'pipeline/feature-step', 'pipeline/types', 'registry', 'tensor'],
  training: ['backends/process', 'datasets/profile', 'experiments/statistics', 'registry', 'validation/anomalies'],
  validation: ['datasets', 'pipeline/door-step', 'pipeline/types', 'registry', 'telemetry', 'tensor'],
  pull: ['models', 'pipeline/types', 'registry'],
  admin: ['control', 'eventlog/event-log', 'experiments/rollout', 'features', 'gateway', 'models', 'monitoring', 'pipeline/types', 'protocol', 'registry', 'server/http', 'telemetry', 'training', 'validation/live'],
  client: ['pipeline/types', 'tensor'],
  exchange: ['client', 'registry'],
  doctor: ['backends/onnx/cuda-provider', 'kafka', 'server/http/open', 'tensor/native'],
  cli: ['client', 'control/validate', 'doctor', 'exchange', 'experiments', 'features/documents', 'main', 'monitoring', 'training'],
};

const rules = Object.entries(allowed).map(([folder, others]) => {
  const reachable = [folder, 'shared', 'config', ...others].map((path) => `^src/${path}`);
  return {
    name: `${folder.replace('/', '-')}-imports`,
    severity: 'error',
    from: { path: `^src/${folder}/`, pathNot: '\\.test\\.ts$' },
    to: { path: '^src/', pathNot: reachable },
  };
});

module.exports = {
  forbidden: [
    ...rules,
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true, viaOnly: { dependencyTypesNot: ['type-only'] } } },
    {
      name: 'one-file-touches-uws',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/server/http/uws[^/]*\\.ts$' },
      to: { path: 'uWebSockets\\.js' },
    },
    { name: 'only-main-imports-wiring', severity: 'error', from: { path: '^src/', pathNot: '^src/(main\\.ts$|wiring/)' }, to: { path: '^src/wiring/' } },
    { name: 'no-test-code-in-the-program', severity: 'error', from: { path: '^src/', pathNot: '(\\.test\\.ts$|^src/testing/)' }, to: { path: '(\\.test\\.ts$|^src/testing/)' } },
  ],
  options: { doNotFollow: { path: 'node_modules' }, tsPreCompilationDeps: true, tsConfig: { fileName: 'tsconfig.json' }, enhancedResolveOptions: { extensions: ['.ts', '.js'] } },
};
