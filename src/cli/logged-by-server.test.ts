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
  shadow: {variant: next, sample: 1}
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
      floor: 0.5
      refresh: 1s
      reward: {wait: 1s}
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
    for (const model of ['ranker', 'shop', 'secret']) {
      const answer = await fetch(url(`/v2/models/${model}/infer`), {
        method: 'POST',
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
  await until('all is in the files', () => count('inference-') > 3 * COUNT && count('feedback-') === COUNT);
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
