import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { z } from 'zod';
import { configSchema } from '../config/schema.ts';
import { renderRewardTopics } from '../control/routes/reward-topics.ts';
import { renderRoutes, renderUnmatchedFeedback } from '../control/routes/route-metrics.ts';
import { emptyStatus, logMetrics } from '../eventlog/metrics.ts';
import { renderFeatures } from '../features/metrics.ts';
import { newJoinCounts } from '../features/serving/join.ts';
import { EXTENSION_PREFIX, EXTENSIONS } from '../models/config/schema.ts';
import { MonitorMetrics } from '../monitoring/metrics.ts';
import { REGISTRY_ERRORS } from '../registry/errors.ts';
import { ERROR_TABLE } from '../shared/errors.ts';
import { MetricsReader } from '../telemetry/metrics-reader.ts';
import { renderExecutorLosses, renderModelMemory, renderPrometheus } from '../telemetry/prometheus.ts';
import { renderLags, renderTopics } from '../topics/metrics.ts';
import { JobMetrics } from '../training/jobs/job-metrics.ts';
import { LiveSkew } from '../validation/live/live-skew.ts';
import { DoorFigures } from '../validation/metrics.ts';
import { cli } from './cli.ts';
import { ServerProcess } from './server-process.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGES = ['README.md', 'CHANGELOG.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)].filter(
  (name) => name.endsWith('.md'),
);
const read = (page: string): string => readFileSync(join(ROOT, page), 'utf8');

/** The cells of every table row of a page, header and rule rows left out, with the row's heading. */
function tableRows(page: string): { heading: string; cells: string[] }[] {
  const rows: { heading: string; cells: string[] }[] = [];
  let heading = '';
  let inBody = false;
  for (const line of read(page).split('\n')) {
    if (line.startsWith('#')) heading = line.replace(/^#+ /, '');
    if (!line.startsWith('|')) inBody = false;
    else if (line.startsWith('|---')) inBody = true;
    else if (inBody) {
      const cells = line.split(/(?<!\\)\|/).slice(1, -1);
      rows.push({ heading, cells: cells.map((cell) => cell.trim()) });
    }
  }
  return rows;
}

function codeSpans(cell: string): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1]);
}

/** GitHub's anchor of a heading. */
function anchor(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\w\- ]/g, '')
    .replaceAll(' ', '-');
}

test('every relative link leads to a file, and to a heading that it has', () => {
  for (const page of PAGES) {
    for (const [, target] of read(page).matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^[a-z]+:/.test(target)) continue;
      const [path, fragment] = target.split('#');
      const file = path === '' ? page : join(dirname(page), path);
      assert.ok(existsSync(join(ROOT, file)), `${page} links to ${target}`);
      if (fragment === undefined) continue;
      const headings = [...read(file).matchAll(/^#+ (.+)$/gm)].map((match) => anchor(match[1]));
      assert.ok(headings.includes(fragment), `${page} links to ${target}; ${file} has ${headings.join(', ')}`);
    }
  }
});

test('files of the repository that the pages name exist', () => {
  for (const page of PAGES) {
    for (const [, path] of read(page).matchAll(/`((?:src|config|docker|loadtest)\/[\w./-]+\.\w+|\.[\w-]+\.cjs)`/g)) {
      assert.ok(existsSync(join(ROOT, path)), `${page} names ${path}`);
    }
  }
});

interface JsonSchema {
  properties?: Record<string, JsonSchema>;
  items?: JsonSchema;
  additionalProperties?: JsonSchema | boolean;
  default?: unknown;
}

/** Sections inside sections: their own defaults are the sum of their fields'. */
const SUBSECTIONS = new Set([
  'telemetry.tracing',
  'models.cuda',
  'models.registry',
  'datasets.http',
  'registry.approvals',
  'registry.webhooks',
  'registry.artifacts',
  'registry.artifacts.collect',
  'training.environments',
  'training.process',
  'eventLog.rule',
  'eventLog.spool',
  'eventLog.payloads',
]);

/** Dotted names of all settings below a schema: `[]` stands for list items, `<name>` for keys of a map. */
function settings(schema: JsonSchema, path: string, into: Map<string, unknown>): void {
  for (const [name, property] of Object.entries(schema.properties ?? {})) {
    const full = path === '' ? name : `${path}.${name}`;
    if (path !== '' || property.properties === undefined) into.set(full, property.default);
    settings(property, full, into);
    if (property.items !== undefined) settings(property.items, `${full}[]`, into);
    if (typeof property.additionalProperties === 'object')
      settings(property.additionalProperties, `${full}.<name>`, into);
  }
}

test('docs/configuration.md has exactly the settings of the schema, with their defaults', () => {
  const known = new Map<string, unknown>();
  settings(z.toJSONSchema(configSchema, { io: 'input' }) as JsonSchema, '', known);
  // Their number depends on this machine's cores.
  const unstated = new Set(['threads.gateways', 'threads.executors']);
  const documented = new Map(
    tableRows('docs/configuration.md')
      .filter(({ cells, heading }) => cells.length === 3 && heading !== 'Configuration')
      .map(({ cells }) => [codeSpans(cells[0])[0], cells[1]]),
  );
  for (const name of documented.keys()) assert.ok(known.has(name), `${name} is no setting`);
  for (const [name, value] of known) {
    if (SUBSECTIONS.has(name)) continue;
    assert.ok(documented.has(name), `${name} is not documented`);
    if (value === undefined || unstated.has(name)) continue;
    assert.equal(codeSpans(documented.get(name)!)[0], JSON.stringify(value), `default of ${name}`);
  }
  // Names in running text of all pages: `section.key`.
  const sections = new Set([...known.keys()].map((name) => name.split('.')[0]));
  for (const page of PAGES) {
    for (const span of codeSpans(read(page).replaceAll(/^```[\s\S]*?^```/gm, ''))) {
      const name = span.replace(/: .*$/, '');
      if (!/^[a-z]+\.[A-Za-z.[\]<>]+$/.test(name) || !sections.has(name.split('.')[0])) continue;
      if (page !== 'docs/configuration.md' && /\.(yaml|yml|mjs|ts)$/.test(name)) continue;
      assert.ok(known.has(name) || name === 'server.tls', `${page} names ${span}`);
    }
  }
});

test('docs/operations.md has exactly the metrics that are produced, with their types', () => {
  const produced = new Map(
    [
      ...(
        renderPrometheus(new MetricsReader(), []) +
        renderModelMemory([]) +
        renderExecutorLosses({ ended: 0, hung: 0, abandoned: 0 }) +
        renderRoutes([], () => ({})) +
        renderUnmatchedFeedback(new Map()) +
        new JobMetrics().render() +
        renderRewardTopics(new Map()) +
        logMetrics(emptyStatus(), 0) +
        new DoorFigures().render() +
        new LiveSkew({ now: Date.now, profile: () => Promise.reject(new Error('none')) }).render() +
        renderTopics({}, { taken: 0, deadLetters: 0, tombstones: 0 }) +
        renderLags([]) +
        renderFeatures({
          pushed: 0,
          kept: 0,
          joins: newJoinCounts(),
          topics: new Map(),
          events: new Map(),
          dropped: 0,
        }) +
        new MonitorMetrics().text()
      ).matchAll(/^# TYPE (\S+) (\S+)$/gm),
    ].map(([, name, type]) => [name, type]),
  );
  assert.ok(produced.size > 20);
  const rows = tableRows('docs/operations.md').filter(({ heading }) => heading === 'Metrics');
  assert.deepEqual(
    Object.fromEntries(rows.map(({ cells }) => [codeSpans(cells[0])[0], cells[1]])),
    Object.fromEntries(produced),
  );
  for (const page of PAGES) {
    for (const [name] of read(page).matchAll(/\b(?:nv|switchyard)_[a-z_]+\b/g)) {
      assert.ok(produced.has(name), `${page} names the metric ${name}`);
    }
  }
});

test('docs/protocols.md has the error table', () => {
  const rows = tableRows('docs/protocols.md').filter(({ heading }) => heading === 'Errors');
  assert.deepEqual(
    Object.fromEntries(
      rows.map(({ cells }) => [
        codeSpans(cells[0])[0],
        { http: Number(cells[1]), grpc: Number.parseInt(cells[2], 10) },
      ]),
    ),
    ERROR_TABLE,
  );
});

test("docs/registry.md has the registry's errors and their statuses", () => {
  const rows = tableRows('docs/registry.md').filter(({ heading }) => heading === 'Errors');
  const documented = rows.flatMap(({ cells }) => {
    const codes = codeSpans(cells[0]);
    const statuses = cells[1].split(', ').map(Number);
    // Several codes of a row have a status each; several statuses of one code begin with the usual one.
    return codes.map((code, i) => [code, statuses[codes.length === 1 ? 0 : i]]);
  });
  const answered = Object.entries(REGISTRY_ERRORS).map(([code, { http }]) => [code, http]);
  assert.deepEqual(Object.fromEntries(documented), Object.fromEntries(answered));
});

test("docs/models.md has exactly Switchyard's own parameters of a model", () => {
  const rows = tableRows('docs/models.md').filter(({ heading }) => heading === 'Our parameters');
  assert.deepEqual(
    rows.map(({ cells }) => codeSpans(cells[0])[0]).sort(),
    EXTENSIONS.map((name) => EXTENSION_PREFIX + name).sort(),
  );
});

test('docs/architecture.md has the import rules that are enforced', () => {
  const { forbidden } = createRequire(import.meta.url)('../../.dependency-cruiser.cjs') as {
    forbidden: { name: string; from: { path?: string }; to: { pathNot?: string[] } }[];
  };
  const enforced: Record<string, string[]> = {};
  for (const rule of forbidden) {
    const folder = /^\^src\/(.+)\/$/.exec(rule.from.path ?? '')?.[1];
    if (folder === undefined) continue;
    const own = [folder, 'shared', 'config'];
    const allowed = (rule.to.pathNot ?? []).map((path) => path.replace('^src/', ''));
    enforced[folder] = allowed.filter((path) => !own.includes(path)).sort();
  }
  const rows = tableRows('docs/architecture.md').filter(({ heading }) => heading === 'Folders');
  const documented = rows.map(({ cells }) => [codeSpans(cells[0])[0], codeSpans(cells[2]).sort()]);
  assert.deepEqual(Object.fromEntries(documented), enforced);
});

test('docs/cli.md has exactly the verbs of the command line', async () => {
  const rows = tableRows('docs/cli.md').map(({ cells }) => codeSpans(cells[0])[0]);
  assert.deepEqual(rows.toSorted(), (await verbs()).toSorted());
  const named = [...read('README.md').matchAll(/^npm run -s switchyard -- ([a-z]+(?: [a-z]+)?)/gm)].map(
    ([, verb]) => verb,
  );
  assert.ok(named.length >= 3);
  for (const verb of named)
    assert.ok(
      rows.some((row) => `${verb} `.startsWith(`${row} `)),
      verb,
    );
});

/** All that have no verbs of their own, as the help says. */
async function verbs(of: readonly string[] = []): Promise<string[]> {
  const { out } = await cli([...of, '--help']);
  const [, listed] = out.split('Commands:\n');
  if (listed === undefined) return [of.join(' ')];
  const names = [...listed.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name]) => name).filter((name) => name !== 'help');
  return (await Promise.all(names.map((name) => verbs([...of, name])))).flat();
}

describe('the commands of README.md', () => {
  let server: ServerProcess;
  before(async () => {
    server = await ServerProcess.start(['--config', join(ROOT, 'config/switchyard.yaml')]);
  });
  after(() => server?.stop());

  const readme = read('README.md');
  const blocks = [...readme.matchAll(/<!-- test -->\n```sh\n([\s\S]*?)```/g)].map((match) => match[1]);

  /** Runs a block against the test's server and gives its standard output. Rejects when a command of it fails. */
  async function run(block: string): Promise<string> {
    const { http, grpc, metrics, admin } = server.ports;
    const ports: Record<string, number> = { 8000: http, 8001: grpc, 8002: metrics, 8080: admin };
    const script = block
      .replaceAll(/localhost:(\d{4})/g, (_, port: string) => `127.0.0.1:${ports[port]}`)
      .replaceAll(/\bcurl -s\b/g, 'curl -sf --noproxy "*"');
    const { stdout } = await promisify(execFile)('bash', ['-e', '-o', 'pipefail', '-c', script], { cwd: ROOT });
    return stdout;
  }

  test('run', async () => {
    assert.ok(blocks.length >= 3);
    const outputs: string[] = [];
    for (const block of blocks) outputs.push(await run(block));
    const [, shown] = /<!-- answer -->\n```json\n([\s\S]*?)```/.exec(readme)!;
    assert.deepEqual(rounded(JSON.parse(outputs[0])), rounded(JSON.parse(shown)));
    assert.deepEqual(JSON.parse(outputs[1]).predictions[0].label, [3]);
    for (const part of ['{"ready":true}', '"shape":[-1,64]', '"state":"READY"', '{model="digits",version="1"} 2']) {
      assert.ok(outputs[2].includes(part), `${part} in ${outputs[2]}`);
    }
  });
});

/** Processors differ in the last digits of their floating-point sums. */
function rounded(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value), (_, item) => (typeof item === 'number' ? Number(item.toFixed(4)) : item));
}
