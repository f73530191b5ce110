import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { parseCondition } from './condition.ts';
import { ConfigError } from './load.ts';
import { loadRouteFiles, parseRoutes } from './load-routes.ts';
import { POLICIES } from './strategy-schema.ts';
import { parseDuration } from './units.ts';

/** A document of each kind with everything in it; each strategy is tried in the place of STRATEGY. */
const ROUTE = `apiVersion: switchyard/v1
kind: Route
metadata: {name: ranker}
spec:
  match:
    - model: ranker
      headers: {X-Tenant: {regex: "^eu-"}}
    - {path: {prefix: /v2/}, tenant: acme, metadata: {a: {present: true}}, parameters: {p: x}}
  unit:
    from: [{header: x-user-id}, {cookie: uid}, {input: user_id}, {parameter: user}]
    onMissing: randomUnanalysed
    salt: ranker-q1
  variants:
    stable: {model: ranker, alias: champion}
    next: {model: ranker, version: "7", fallback: stable}
  overrides:
    - {headers: {x-canary: {exact: always}}, variant: next, analysed: false}
  shadow:
    variant: next
    sample: 10%
    maxInFlight: 64
    timeout: 500ms
    compare: {output: scores, atol: 1e-3, rtol: 1e-3, topK: 5, maxMismatch: 1%}
  fallback: {on: [5xx, timeout, ejected], order: [stable]}
  resilience:
    outlier: {consecutive5xx: 5, interval: 10s, baseEjection: 30s}
    retryBudget: {percent: 20, minConcurrency: 3}
    circuitBreaker: {maxInFlight: 100, failureRatio: 50%}
    timeout: 2s
  strategy:
    STRATEGY
---
apiVersion: switchyard/v1
kind: AnalysisTemplate
metadata: {name: golden}
spec:
  metrics:
    - {name: errors, test: errorRate, margin: 0.2%, minRequests: 2000}
    - {name: p99, test: latencyQuantile, quantile: 0.99, margin: 5%, minRequests: 5000}
    - {name: agreement, test: shadowMismatch, margin: 1%, minRequests: 1000}
    - {name: revenue, prometheus: {address: "http://prometheus:9090", query: "sum(x)"}, successCondition: "result >= 0.95", failureLimit: 0}
`;

const STRATEGIES = {
  weighted: 'weighted: {stable: 90, next: 10}',
  canary: `canary:
      stable: stable
      candidate: next
      control: matched
      steps:
        - setMirror: {percent: 10}
        - pause: {duration: 10m}
        - setWeight: 5
        - analysis: {templates: [golden]}
        - pause: {}
      background: {templates: [golden]}
      onFail: {rollback: ramp, over: 30s}
      onInconclusive: hold
      onPass: {setAlias: champion}
      deadline: 2h`,
  experiment: `experiment:
      split: {stable: 50, next: 50}
      primary: {metric: reward, mde: 1%, test: asymptoticCS, alpha: 0.05, tune: 5000}
      guardrails: [{metric: latency.p99, nonInferiority: 5%}, {metric: errors, nonInferiority: 0.2%}]
      srm: {alpha: 0.001, onFail: invalidate}`,
  bandit: `bandit:
      policy: thompsonBeta
      arms: [stable, next]
      context: {inputs: [age, locale], dim: 16}
      floor: 0.02
      discount: {halfLife: 24h}
      refresh: 10s
      reward: {wait: 30m, default: 0, aggregate: first, topic: rewards}
      mode: online`,
};

function parse(text: string, knows?: (model: string) => boolean) {
  return parseRoutes([{ file: 'route.yaml', text }], { knowsModel: knows });
}

function problems(text: string, knows?: (model: string) => boolean): string[] {
  try {
    parse(text, knows);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems;
  }
  return [];
}

test('every capability of the example is read, with units converted', () => {
  for (const [kind, strategy] of Object.entries(STRATEGIES)) {
    const { routes, templates } = parse(ROUTE.replace('STRATEGY', strategy));
    assert.equal(routes.length, 1, kind);
    const { spec } = routes[0];
    assert.ok(kind in spec.strategy);
    assert.equal(spec.shadow?.sample, 0.1);
    assert.equal(spec.resilience.timeout, 2000);
    assert.equal(spec.resilience.outlier?.baseEjection, 30_000);
    assert.deepEqual(spec.match?.[0].headers, { 'x-tenant': { regex: '^eu-' } });
    const metrics = templates.get('golden')!.spec.metrics;
    assert.deepEqual([metrics[0].margin, metrics[1].quantile, metrics[3].failureLimit], [0.002, 0.99, 0]);
  }
  for (const policy of POLICIES) {
    const { spec } = parse(ROUTE.replace('STRATEGY', STRATEGIES.bandit.replace('thompsonBeta', policy))).routes[0];
    assert.deepEqual(spec.strategy.bandit?.context?.inputs, ['age', 'locale'], policy);
  }
  for (const allowed of ['hold', 'fail']) {
    const canary = parse(ROUTE.replace('STRATEGY', STRATEGIES.canary.replace('hold', allowed))).routes[0];
    assert.equal(canary.spec.strategy.canary?.onInconclusive, allowed);
  }
  assert.equal(parseDuration('1h30m5s250ms'), 5_405_250);
});

test('mistakes are refused with place and remedy', () => {
  const base = ROUTE.replace('STRATEGY', STRATEGIES.weighted);
  const canary = ROUTE.replace('STRATEGY', STRATEGIES.canary);
  const cases: [string, RegExp][] = [
    [
      base.replace('next: 10}', 'next: 20}'),
      /^route.yaml:31:5: spec.strategy.weighted: the weights add up to 110; they must add up to 100/,
    ],
    [
      base.replace('next: 10}', 'nxet: 10}'),
      /^route.yaml:31:\d+: spec.strategy.weighted.nxet: no variant is called "nxet"; there are stable, next/,
    ],
    [
      base.replace('weighted:', 'bandit: {policy: ucb1, arms: [stable]}\n    weighted:'),
      /exactly one strategy of .*; it has weighted and bandit/,
    ],
    [ROUTE.replace('STRATEGY', '{}').replace('strategy:\n    {}', 'strategy: {}'), /it has none/],
    [base.replace('alias: champion}', 'alias: champion, fallback: next}'), /go in a circle: stable → next → stable/],
    [base.replace('regex: "^eu-"', 'regex: "(a"'), /^route.yaml:7:\d+: .*"\(" without/],
    [base.replace('500ms', '5 parsecs'), /a duration such as/],
    [base.replace('sample: 10%', 'sample: 110%'), /between 0% and 100%/],
    [base.replace('maxInFlight: 64', 'maxInflight: 64'), /unknown setting 'spec.shadow.maxInflight'/],
    [
      base.replace('variant: next, analysed', 'variant: other, analysed'),
      /^route.yaml:17:\d+: .*no variant is called "other"/,
    ],
    [base.replace('order: [stable]', 'order: [stable, stable]'), /names stable twice/],
    [base.replace('version: "7"', 'version: "7", alias: a'), /a version or an alias, not both/],
    [base.replace('kind: Route', 'kind: Rout'), /^route.yaml:2:1: kind: kind must be Route or AnalysisTemplate/],
    [base.replace('margin: 0.2%', 'margin: 0%'), /no amount of data/],
    [
      base.replace('margin: 0.2%', 'margin: 2'),
      /^route.yaml:\d+:\d+: .*margin: is 200%, .* below 100%: if 2 percent is meant, write "2%"/,
    ],
    [base.replace('margin: 1%', 'margin: 100%'), /metrics.2.margin: is 100%, .* everything would pass/],
    [
      ROUTE.replace('STRATEGY', STRATEGIES.experiment.replace('nonInferiority: 0.2%', 'nonInferiority: 2')),
      /guardrails.1.nonInferiority: is 200%, .* write "2%"/,
    ],
    [base.replace('minRequests: 5000', 'minRequests: 50'), /50 requests cannot show a 0.99 quantile; at least 1000/],
    [base.replace('result >= 0.95', 'process.exit()'), /condition "process.exit\(\)"/],
    [base.replace('{name: agreement, test', '{name: errors, test'), /two metrics have the same name/],
    [
      canary.replace('[golden]}\n        - pause: {}', '[silver]}\n        - pause: {}'),
      /no AnalysisTemplate is called "silver"; there are: golden/,
    ],
    [
      canary.replace('setWeight: 5', 'setWeight: 0').replace('setMirror: {percent: 10}', 'setWeight: 0'),
      /nothing reaches the candidate before this step/,
    ],
    [
      canary.replace('- setWeight: 5', '- pause: {}'),
      /the candidate serves none here; put a setWeight above 0 and below 100/,
    ],
    [
      canary.replace('setWeight: 5', 'setWeight: 100'),
      /^route.yaml:\d+:\d+: .*steps.3.analysis.templates.0: metric errors .* stable serves none here/,
    ],
    [
      canary.replace('setWeight: 5', 'setWeight: 100'),
      /background.templates.0: metric errors compares requests that both versions serve/,
    ],
    [canary.replace('deadline: 2h', 'deadline: 10m'), /deadline: the pauses alone last 600 s, so a rollout never ends/],
    [
      ROUTE.replace('STRATEGY', STRATEGIES.experiment.replace(/split: \{.*\}/, 'split: {stable: 100, next: 0}')),
      /split.next: an arm of weight 0/,
    ],
    [
      ROUTE.replace('STRATEGY', STRATEGIES.experiment.replace('primary:', 'reward: {default: 3}\n      primary:')),
      /^route.yaml:\d+:\d+: spec.strategy.experiment.reward.default: lies outside 0 to 1/,
    ],
    [
      ROUTE.replace('STRATEGY', STRATEGIES.experiment.replace('primary:', 'reward: {range: [1, 0]}\n      primary:')),
      /experiment.reward.range: must be/,
    ],
    [canary.replace('setWeight: 5', 'setWeight: 5\n          pause: {}'), /a step is exactly one of/],
    [canary.replace('candidate: next', 'candidate: stable'), /same variant as stable/],
    [
      canary.replace('{alias: ', '{alias: ').replace('next: {model: ranker,', 'next: {model: other,'),
      /alias names a version of one model/,
    ],
    [
      canary.replace('alias: champion', 'version: "6"'),
      /^route.yaml:\d+:\d+: .*onPass.setAlias: .* stays version 6; let stable follow alias: champion, or leave setAlias/,
    ],
    [canary.replace('setAlias: champion', 'setAlias: other'), /stays alias champion; let stable follow alias: other/],
    [
      canary.replace('    variant: next\n    sample', '    variant: stable\n    sample'),
      /^route.yaml:\d+:\d+: .*setMirror: mirrors to the candidate next, and shadow to stable; a route has one shadow/,
    ],
    [canary.replace('hold', 'pass'), /onInconclusive: pass never comes about .*; give it a timeout$/],
    [
      canary.replace('hold', 'fail').replace('      deadline: 2h', ''),
      /onInconclusive: fail never comes about .*; give it a timeout, or the canary a deadline/,
    ],
    [ROUTE.replace('STRATEGY', STRATEGIES.bandit.replace('floor: 0.02', 'floor: 0.6')), /more than 1/],
    [ROUTE.replace('STRATEGY', STRATEGIES.bandit.replace('default: 0', 'default: 4')), /outside 0 to 1/],
    [`${base}---\n${base}`, /there is another Route ranker/],
    [base.replace('salt: ranker-q1', 'salt: [a'), /^route.yaml:\d+:\d+: /],
  ];
  for (const [text, message] of cases) {
    const found = problems(text);
    assert.ok(
      found.some((line) => message.test(line)),
      `${message}:\n${found.join('\n')}`,
    );
  }
  const unknown = problems(base, (model) => model !== 'ranker');
  assert.match(
    unknown[0],
    /^route.yaml:14:\d+: spec.variants.stable.model: no model is called "ranker"; load it first/,
  );
});

test('measurements that cannot all be had before a timeout or a deadline are refused; in the last moment they can', () => {
  const canary = ROUTE.replace('STRATEGY', STRATEGIES.canary);
  const measured = (count: number, interval: string) =>
    canary.replace('failureLimit: 0', `failureLimit: 0, count: ${count}, interval: ${interval}`);
  const timed = (text: string, onInconclusive = 'hold') =>
    text
      .replace('analysis: {templates: [golden]}', 'analysis: {templates: [golden], timeout: 60s}')
      .replace('onInconclusive: hold', `onInconclusive: ${onInconclusive}`);
  for (const onInconclusive of ['hold', 'fail', 'pass']) {
    assert.deepEqual(problems(timed(measured(3, '29s'), onInconclusive)), []);
    const [problem, ...others] = problems(timed(measured(3, '30s'), onInconclusive));
    assert.deepEqual(others, []);
    assert.match(
      problem,
      /^route.yaml:\d+:\d+: .*steps.3.analysis.timeout: 3 measurements of metric revenue \(golden\), one every 30 s, take at least 60 s, so .* within 60 s; allow more than 60 s/,
    );
  }
  // Ten minutes of pauses before the analysis; the background measures beside them.
  assert.deepEqual(problems(measured(12, '599s')), []);
  assert.match(
    problems(measured(12, '600s'))[0],
    /^route.yaml:\d+:\d+: .*canary.deadline: 12 measurements of metric revenue .* at least 6600 s, with what comes before 7200 s, so a rollout never ends within 7200 s; allow more than 7200 s/,
  );
  const inBackground = (text: string) => text.replace('        - analysis: {templates: [golden]}\n', '');
  assert.deepEqual(problems(inBackground(measured(13, '599s'))), []);
  assert.match(
    problems(inBackground(measured(13, '600s')))[0],
    /canary.deadline: 13 .*, with what comes before 7200 s/,
  );
  // What a timeout passes over keeps nobody waiting.
  const passes = timed(measured(3, '29s'), 'pass').replace('deadline: 2h', 'deadline: 659s');
  assert.deepEqual(problems(passes), []);
});

test('latencies are compared by their mean and by percentiles that there are', () => {
  const named = (metric: string) => ROUTE.replace('STRATEGY', STRATEGIES.experiment.replace('latency.p99', metric));
  for (const metric of ['mean', 'p1', 'p50', 'p99', 'p99.9', 'p99.99', 'p0.50'])
    assert.deepEqual(problems(named(`latency.${metric}`)), [], metric);
  for (const metric of [
    'p0',
    'p00',
    'p0.0',
    'p0.000',
    'p05',
    'p100',
    'p100.0',
    'p99.',
    'p-1',
    'p',
    'p99.9999999999999999999',
  ])
    assert.match(
      problems(named(`latency.${metric}`)).join('\n'),
      /^route.yaml:\d+:\d+: .*guardrails.0.metric: allowed: reward, .*percentiles above 0 and below 100/,
      metric,
    );
});

test('a reward topic needs brokers, where it is known that there are none', () => {
  const text = ROUTE.replace('STRATEGY', STRATEGIES.bandit);
  const files = [{ file: 'route.yaml', text }];
  assert.equal(parseRoutes(files, { kafka: true }).routes.length, 1);
  assert.throws(
    () => parseRoutes(files, { kafka: false }),
    /^ConfigError: route.yaml:\d+:\d+: .*reward.topic: no Kafka/,
  );
});

test('files are read from disk, and one that is missing is named', () => {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-routes-'));
  const file = join(folder, 'route.yaml');
  writeFileSync(file, ROUTE.replace('STRATEGY', STRATEGIES.weighted));
  assert.equal(loadRouteFiles([file]).routes.length, 1);
  assert.throws(() => loadRouteFiles([file, join(folder, 'none.yaml')]), /none.yaml: cannot be read/);
  rmSync(folder, { recursive: true });
});

test('names that reach a prototype are refused', () => {
  const text = ROUTE.replace('STRATEGY', STRATEGIES.weighted);
  assert.ok(
    problems(text.replace('next: {model: ranker, version: "7", fallback: stable}', '__proto__: {model: ranker}'))
      .length > 0,
  );
  assert.ok(problems(text.replace('{name: ranker}', '{name: constructor}')).length > 0);
});

test('mutated files are refused or read, never thrown on', () => {
  const text = ROUTE.replace('STRATEGY', STRATEGIES.canary);
  const edit = fc.record({
    at: fc.nat(text.length),
    remove: fc.nat(12),
    insert: fc.constantFrom('', '{', '}', '[', ':', ' ', '\n', '*a', '&a', '0', '-1', '%', 'null', '!!x', '"', '1e400'),
  });
  fc.assert(
    fc.property(edit, ({ at, remove, insert }) => {
      for (const line of problems(text.slice(0, at) + insert + text.slice(at + remove))) {
        assert.match(line, /^route.yaml:\d+:\d+: /);
      }
    }),
    { numRuns: 500 },
  );
});

test('conditions compute what they say and reach nothing else', () => {
  const cases: [string, number[], boolean][] = [
    ['result >= 0.95', [0.95], true],
    ['result[0] < 2 && result[1] > 1', [1, 2], true],
    ['!(result > 1) || result == 5', [5], true],
    ['-result * 2 + 10 % 4 <= abs(-3) - 1', [0], true],
    ['isNaN(result)', [], true],
    ['result > 0', [], false],
    ['result <= 0', [Number.NaN], false],
    ['1 + 2 * 3 == 7 && 8 / 2 / 2 == 2', [], true],
  ];
  for (const [source, result, expected] of cases) assert.equal(parseCondition(source)(result), expected, source);
  for (const source of [
    '',
    'result',
    'result >',
    '(result > 1',
    'result > 1)',
    'foo > 1',
    'result.x',
    '1 < 2 < 3',
    '"a" == 1',
    '!result',
    'constructor > 1',
    'result[-1] > 0',
    `${'('.repeat(99)}1`,
  ]) {
    assert.throws(() => parseCondition(source), /^Error: condition/, source);
  }
});
