import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { LogEvaluation } from '../experiments/ope/from-log.ts';
import type { Replay } from '../experiments/replay/replay.ts';
import { cli } from '../testing/cli.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-logged-'));
let server: ServerProcess | undefined;
after(async () => {
  await server?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const ROUTES = join(scratch, 'routes.yaml');
writeFileSync(
  ROUTES,
  `apiVersion: switchyard/v1
kind: Route
metadata: {name: ranker}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  shadow: {variant: next, sample: 1, compare: {maxMismatch: 10%}}
  strategy:
    canary:
      stable: stable
      candidate: next
      steps: [{setMirror: {percent: 100}}, {setWeight: 40}, {pause: {}}, {analysis: {templates: [golden]}}]
---
apiVersion: switchyard/v1
kind: AnalysisTemplate
metadata: {name: golden}
spec:
  metrics:
    - {name: errors, test: errorRate, margin: 2%, minRequests: 500}
    - {name: agreement, test: shadowMismatch, margin: 10%, minRequests: 10}
---
apiVersion: switchyard/v1
kind: Route
metadata: {name: shop}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    bandit:
      policy: thompsonBeta
      arms: [stable, next]
      context: {headers: [x-age], dim: 4}
      floor: 0.5
      refresh: 1s
      reward: {wait: 1s}
---
apiVersion: switchyard/v1
kind: Route
metadata: {name: learner}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    bandit: {policy: epsilonGreedy, epsilon: 1, arms: [stable, next], refresh: 1s, mode: apprentice}
---
apiVersion: switchyard/v1
kind: Route
metadata: {name: secret}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  log: {redact: [{field: inputs.x, action: mask}, {field: outputs.y, action: mask}]}
  strategy: {weighted: {stable: 50, next: 50}}
`,
);
const CONTEXTUAL = join(scratch, 'contextual.yaml');
writeFileSync(
  CONTEXTUAL,
  `apiVersion: switchyard/v1
kind: Route
metadata: {name: shop}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    bandit: {policy: linUCB, arms: [stable, next], context: {headers: [x-age], dim: 4}, refresh: 1s, reward: {wait: 1s}}
`,
);
const COUNT = 150;

async function evaluated(...args: string[]): Promise<LogEvaluation> {
  const { out, err } = await cli(['ope', ...args, '--route', ROUTES, '-o', 'json']);
  assert.notEqual(out, '', err);
  return JSON.parse(out) as LogEvaluation;
}

test('ope and replay read what a gateway has logged: its files, and the tail with feedback in between', async () => {
  const root = scriptRepository(scratch, {
    m: { versions: { 1: times(1), 2: times(2) }, config: 'version_policy: { all: {} }\n' },
  });
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(
    config,
    `models: {repositories: [${root}]}\nroutes: {files: [routes.yaml]}\nthreads: {gateways: 1, executors: 1}\neventLog: {enabled: true}\n`,
  );
  server = await ServerProcess.start(['--config', config]);
  const { ports, dataDir } = server;
  const url = (path: string): string => server!.url(path);
  const admin = ['--admin', `http://127.0.0.1:${ports.admin}`];
  await until('the canary is at its gate', async () => {
    const { out } = await cli(['routes', 'get', 'ranker', '-o', 'json', ...admin]);
    return out !== '' && (JSON.parse(out) as { rollout?: { phase: string } }).rollout?.phase === 'gated';
  });
  const events: object[] = [];
  for (let i = 0; i < COUNT; i++) {
    for (const model of ['ranker', 'shop', 'secret', 'learner']) {
      const answer = await fetch(url(`/v2/models/${model}/infer`), {
        method: 'POST',
        headers: { 'x-age': String(i) },
        body: JSON.stringify({ inputs: x(i) }),
      });
      assert.equal(answer.status, 200, await answer.text());
      const reward = Number(answer.headers.get('x-switchyard-variant') === 'next');
      if (model === 'shop') events.push({ id: answer.headers.get('x-switchyard-id'), reward });
    }
  }
  const told = await fetch(url('/switchyard/v1/feedback'), { method: 'POST', body: JSON.stringify({ events }) });
  assert.equal(told.status, 200);
  await told.arrayBuffer();
  const folder = join(dataDir, 'eventlog/files/files');
  const files = (kind: string): string[] =>
    readdirSync(folder)
      .filter((name) => name.startsWith(kind))
      .map((name) => join(folder, name));
  const count = (kind: string): number =>
    files(kind).reduce((sum, file) => sum + readFileSync(file, 'utf8').split('\n').length - 1, 0);
  // Of stable's requests a copy is logged, too.
  await until('all is in the files', () => count('inference-') > 4 * COUNT && count('feedback-') === COUNT);
  const tail = await cli(['log', 'tail', '-n', '5000', ...admin]);
  const tailed = join(scratch, 'tail.jsonl');
  writeFileSync(tailed, tail.out);
  assert.match(tail.out, /"rewards":\{"reward":1\}/);

  for (const [records, rewards] of [
    [files('inference-'), files('feedback-')],
    [[tailed], [tailed]],
  ]) {
    const all = ['--min-effective', '20', '--weights', 'next=1', ...rewards.flatMap((file) => ['--rewards', file])];
    const shop = await evaluated(...records, '--name', 'shop', ...all);
    assert.equal(shop.refusal, '', JSON.stringify(shop));
    assert.equal(shop.rewarded, COUNT);
    assert.ok(Math.abs(shop.snips.value - 1) < 1e-9, JSON.stringify(shop.snips));
    const sighted = await evaluated(...records, '--name', 'shop', '--policy', CONTEXTUAL, '--min-effective', '1');
    assert.equal(sighted.decisions, COUNT, 'the context of a header is on record');
    const masked = await evaluated(...records, '--name', 'secret', ...all);
    assert.equal(masked.decisions, COUNT);
    const { out, err } = await cli([
      ...['routes', 'replay', ...records, '--route', ROUTES, '--name', 'ranker', '-o', 'json'],
    ]);
    assert.notEqual(out, '', err);
    const replay = JSON.parse(out) as Replay;
    assert.ok((replay.last?.candidate.requests ?? 0) > 10, out);
    // Twice as much is another answer: every copy differs, but for that of 0.
    assert.equal(replay.decided?.reports.find(({ metric }) => metric === 'agreement')?.verdict, 'fail', out);
  }
});

interface Logged {
  route: string;
  shadow: boolean;
  override: number;
  bucket: number;
  detour: string;
  variant: string;
  context: number[];
  fallbacks: object[];
  proposed?: { variant: string; pmf: number[] };
}

test('a record says what an apprentice would have done and in which context, and the route how often they agree', async () => {
  const lines = readFileSync(join(scratch, 'tail.jsonl'), 'utf8').split('\n');
  const records = lines.map((line) => JSON.parse(line) as Logged).filter(({ shadow }) => shadow === false);
  const of = (name: string): Logged[] => records.filter(({ route }) => route === name);
  const proposals = of('learner').map(({ detour, variant, proposed }) => {
    assert.deepEqual([detour, variant, proposed?.pmf], ['apprentice', 'stable', [0.5, 0.5]]);
    return proposed?.variant;
  });
  assert.deepEqual([...new Set(proposals)].sort(), ['next', 'stable']);
  for (const { context, override, bucket, fallbacks } of of('shop')) {
    assert.equal(context.length, 4);
    assert.deepEqual([context[0], override, bucket, fallbacks], [1, -1, -1, []]);
  }
  assert.ok(
    of('shop').some(({ context }) => context.slice(1).some((value) => value !== 0)),
    'the header is in it',
  );
  for (const { bucket } of of('ranker')) assert.ok(bucket >= 0, `bucket ${bucket}`);

  const admin = ['--admin', `http://127.0.0.1:${server!.ports.admin}`];
  const agreed = proposals.filter((variant) => variant === 'stable').length;
  await until('the route has counted them', async () => {
    const { out } = await cli(['routes', 'get', 'learner', '-o', 'json', ...admin]);
    const { apprentice } = (JSON.parse(out) as { bandit: { apprentice: { decisions: number; agreement: number } } })
      .bandit;
    return apprentice.decisions === COUNT && apprentice.agreement === agreed / COUNT;
  });
});

test('a shadow shows how many answers differ, with interval and verdict, and the last ones of them', async () => {
  const admin = ['--admin', `http://127.0.0.1:${server!.ports.admin}`];
  const { out } = await cli(['routes', 'get', 'ranker', ...admin]);
  assert.match(out, /shadow of next: \d+ of \d+ answers differ, \d+(\.\d)? % \(\d.* % to 100 %\); 10 % allowed: fail/);
  const listed = await cli(['routes', 'mismatches', 'ranker', ...admin]);
  assert.match(listed.out, /next@2 +output 'y' /);
  const found = JSON.parse((await cli(['routes', 'mismatches', 'ranker', '-o', 'json', ...admin])).out) as object[];
  assert.ok(found.length > 0 && found.length <= 20, `${found.length} examples`);
  const metrics = await (await fetch(`http://127.0.0.1:${server!.ports.metrics}/metrics`)).text();
  assert.match(
    metrics,
    /switchyard_route_shadow_mismatch_rate\{route="ranker",variant="next",version="2",bound="low"\} 0\.\d/,
  );
  assert.match(
    metrics,
    /switchyard_route_shadow_verdict\{route="ranker",variant="next",version="2",verdict="fail"\} 1/,
  );
  assert.equal((await cli(['routes', 'mismatches', 'nobody', ...admin])).code, 1);
});
