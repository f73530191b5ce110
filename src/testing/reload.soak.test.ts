import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { parseConfig } from '../config/load.ts';
import { scriptRepository, times, x } from './script-models.ts';
import { infer, ServerProcess } from './server-process.ts';

const FILES = 500;
const KEY = 'reload';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-reload-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** A small generator of numbers below `bound`, the same at each run. */
function numbers(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

/** The text with one mistake that people, editors or disks make. */
function mutate(text: string, below: (bound: number) => number): string {
  const lines = text.split('\n');
  const at = below(lines.length);
  const place = below(text.length);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)];
  const values = [
    '',
    'null',
    '-1',
    '1e400',
    '"',
    '[',
    '{}',
    'yes',
    '*alias',
    '&a b',
    '!!js x',
    '0x10',
    '99999999999',
    '\t',
    '#',
  ];
  switch (below(10)) {
    case 0:
      return text.slice(0, place);
    case 1:
      return text.slice(0, place) + String.fromCharCode(32 + below(95)) + text.slice(place + 1);
    case 2:
      return text.slice(0, place) + text.slice(place + 1 + below(20));
    case 3:
      return lines.toSpliced(at, 1).join('\n');
    case 4:
      return lines.toSpliced(at, 0, pick(lines)).join('\n');
    case 5:
      return lines.with(at, ` ${lines[at]}`).join('\n');
    case 6:
      return lines.with(at, lines[at].replace(/:.*/, `: ${pick(values)}`)).join('\n');
    case 7:
      return lines.with(at, lines[at].replace(/(\w+):/, '$1x:')).join('\n');
    case 8:
      return lines.with(at, lines[at].replace(/[\w./-]+(?=[},\]]|$)/, pick(values))).join('\n');
    default:
      return text.slice(0, place) + pick(['\0', '\ufeff', '\r', '---\n', '\u2028', '%', '<<: *x']) + text.slice(place);
  }
}

test(`${FILES} damaged configurations under load: each is taken whole or refused with its place, and no request fails`, async () => {
  const root = scriptRepository(scratch, { scale: { versions: { 1: times(10) } } });
  const sha256 = createHash('sha256').update(KEY).digest('hex');
  const good = `server:
  name: switchyard
  maxBodyBytes: 1000000
  serverTiming: true
  drainSeconds: 5
limits: {maxOutstanding: 2048, defaultTimeoutMs: 20000}
models:
  repositories: [${root}]
  mode: poll
  pollSeconds: 5
admission:
  anonymous: deny
  tenants:
    reload: {limits: {requestsPerSecond: 100000, burst: 100000, concurrency: 1000}, allowedModels: [scale]}
    other: {modelLimits: {scale: {dailyQuota: 5}}}
  apiKeys:
    - {tenant: reload, sha256: ${sha256}, roles: [infer]}
    - {tenant: other, sha256: ${sha256.split('').reverse().join('')}, maxPriority: 2}
cache: {memoryBytes: 1000000, ttlSeconds: 10}
telemetry:
  logLevel: info
  tracing: {sampleRatio: 0.5}
`;
  const file = join(scratch, 'switchyard.yaml');
  const write = (text: string): void => {
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
  };
  write(good);
  const server = await ServerProcess.start(['--config', file]);
  after(() => server.stop());
  const admin = async (method: string, path: string): Promise<{ status: number; body: Status }> => {
    const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/config/${path}`, { method });
    return { status: response.status, body: (await response.json()) as Status };
  };
  interface Status {
    generation: number;
    problems: string[];
  }

  const failures: string[] = [];
  let asking = true;
  let asked = 0;
  const clients = Array.from({ length: 8 }, async () => {
    while (asking) {
      const { status, body } = await infer(server, 'scale', x(asked++), { 'x-api-key': KEY });
      if (status !== 200) failures.push(`${status} ${body.error}`);
    }
  });

  const below = numbers(7);
  /** A file that is valid and takes the clients' key or limits away would rightly fail their requests. */
  const locksOut = (text: string): boolean => {
    try {
      const { admission } = parseConfig(text, file);
      const key = admission.apiKeys?.find((entry) => entry.sha256 === sha256);
      const same = parseConfig(good, file).admission;
      const open = admission.apiKeys === undefined && admission.anonymous !== 'deny';
      return (
        !(open || key?.tenant === 'reload') ||
        JSON.stringify(admission.tenants?.reload) !== JSON.stringify(same.tenants?.reload)
      );
    } catch {
      return false;
    }
  };
  let refused = 0;
  for (let tried = 0; tried < FILES; ) {
    let text = mutate(good, below);
    if (below(3) === 0) text = mutate(text, below);
    if (locksOut(text)) continue;
    tried++;
    write(text);
    const before = (await admin('GET', 'status')).body.generation;
    const { status, body } = await admin('POST', 'reload');
    if (status === 200) {
      assert.ok(body.generation > before, text);
      assert.deepEqual(body.problems, []);
    } else {
      refused++;
      assert.equal(status, 400, text);
      assert.equal(body.generation, before, 'a refused configuration is no generation');
      assert.ok(body.problems.length > 0, text);
      for (const problem of body.problems) assert.match(problem, /switchyard\.yaml:\d+:\d+: ./, text);
    }
    const asked = (await admin('GET', 'status')).body;
    assert.ok(asked.generation >= body.generation);
  }
  write(good);
  assert.equal((await admin('POST', 'reload')).status, 200);
  asking = false;
  await Promise.all(clients);
  console.log(`${refused} of ${FILES} refused, ${asked} requests answered meanwhile`);
  assert.deepEqual(failures, []);
  assert.ok(refused > FILES / 4 && refused < FILES, `${refused} refused`);
  assert.ok(asked > FILES);
});
