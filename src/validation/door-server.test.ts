import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { cli } from '../testing/cli.ts';
import { scriptRepository, times, until, x } from '../testing/script-models.ts';
import { ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-door-'));
const config = (policy: string): string =>
  `parameters { key: "switchyard.validation" value { string_value: "{policy: ${policy}, fields: {x: {min: 0, max: 10}}}" } }\n`;
const model = (policy: string) => ({ versions: { 1: times(2) }, config: config(policy) });
const LIVE =
  '{policy: log, fields: {x: {maxSkew: {linf: 0.2}}}, reference: {dataset: trained, version: 1, columns: {x: amount}}}';
const repository = scriptRepository(scratch, {
  strict: model('reject'),
  lenient: model('flag'),
  silent: model('log'),
  kept: {
    versions: { 1: times(2) },
    config:
      'parameters { key: "switchyard.validation" value { string_value: "{policy: reject, schema: {name: payments}}" } }\n',
  },
  live: {
    versions: { 1: times(2) },
    config: `parameters { key: "switchyard.validation" value { string_value: "${LIVE}" } }\n`,
  },
});
const file = join(scratch, 'switchyard.yaml');
writeFileSync(
  file,
  `models: {repositories: [${repository}]}\neventLog: {enabled: true}\nthreads: {gateways: 1, executors: 1}\n`,
);
const server = await ServerProcess.start(['--config', file, '--no-supervise'], { dataDir: join(scratch, 'data') });
after(async () => {
  await server.stop();
  rmSync(scratch, { recursive: true, force: true });
});

async function ask(name: string, value: number) {
  const response = await fetch(server.url(`/v2/models/${name}/infer`), {
    method: 'POST',
    body: JSON.stringify({ inputs: x(value) }),
  });
  return {
    status: response.status,
    text: await response.text(),
    anomalies: response.headers.get('x-switchyard-anomalies'),
  };
}

test('requests are rejected, flagged or counted at the door, and the metrics say how often', async () => {
  assert.equal((await ask('strict', 5)).status, 200);
  const rejected = await ask('strict', 11);
  assert.equal(rejected.status, 400);
  assert.match(rejected.text, /'x' in row 0 is 11; at most 10 is allowed/);
  const flagged = await ask('lenient', -1);
  assert.deepEqual([flagged.status, flagged.anomalies], [200, 'x:BELOW_MIN']);
  assert.equal((await ask('lenient', 1)).anomalies, null);
  const logged = await ask('silent', 99);
  assert.deepEqual([logged.status, logged.anomalies], [200, null]);
  const metrics = `http://127.0.0.1:${server.ports.metrics}/metrics`;
  await until('the violations are counted', async () => {
    const text = await (await fetch(metrics)).text();
    return [
      '{model="strict",field="x",rule="ABOVE_MAX",policy="reject"} 1',
      '{model="lenient",field="x",rule="BELOW_MIN",policy="flag"} 1',
      '{model="silent",field="x",rule="ABOVE_MAX",policy="log"} 1',
    ].every((row) => text.includes(`switchyard_validation_violations_total${row}`));
  });
  const records = `http://127.0.0.1:${server.ports.admin}/api/v1/log/records?limit=100`;
  await until('the flagged request is in the log with what is wrong', async () => {
    const { records: found } = (await (await fetch(records)).json()) as {
      records: { features: { name: string }[] }[];
    };
    const columns = found.flatMap(({ features }) => features.filter(({ name }) => name === 'switchyard.anomalies'));
    return columns.length === 1 && JSON.stringify(columns).includes('x:BELOW_MIN');
  });
});

test('a model follows the schema that is kept by a name', { timeout: 600_000 }, async () => {
  const keep = async (max: number) => {
    const url = `http://127.0.0.1:${server.ports.admin}/api/v1/data-schemas/payments`;
    const made = await fetch(url, { method: 'POST', body: JSON.stringify({ schema: { fields: { x: { max } } } }) });
    assert.ok(made.ok, await made.text());
  };
  await until('it is known that there is no schema', async () => {
    const early = await ask('kept', 5);
    assert.equal(early.status, 503);
    return /there is no schema \\"payments\\"/.test(early.text);
  });
  await keep(10);
  await until('the first version holds', async () => (await ask('kept', 5)).status === 200);
  assert.match((await ask('kept', 11)).text, /at most 10 is allowed/);
  await keep(20);
  await until('the next one does', async () => (await ask('kept', 11)).status === 200);
  assert.match((await ask('kept', 21)).text, /at most 20 is allowed/);
});

test('what a model is asked is held against its training data', { timeout: 600_000 }, async () => {
  const admin = `http://127.0.0.1:${server.ports.admin}`;
  const skew = () => cli(['models', 'skew', 'live', '--admin', admin, '-o', 'json']);
  const fields = async () => {
    const { out } = await skew();
    const { versions } = JSON.parse(out) as {
      versions: { problem: string; fields: { state: string; values: number; linf: number }[] }[];
    };
    return versions[0];
  };
  assert.match((await skew()).err, /no version of live that names training data .* was asked/);
  for (let i = 0; i < 50; i++) await ask('live', i % 10);
  await until('the missing dataset is named', async () =>
    (await fields())?.problem.includes('there is no dataset "trained"'),
  );
  const csv = `amount\n${Array.from({ length: 500 }, (_, i) => i % 10).join('\n')}\n`;
  const made = await fetch(`${admin}/api/v1/datasets/trained/versions?format=csv`, { method: 'POST', body: csv });
  assert.ok(made.ok, await made.text());
  assert.equal((await fields()).fields[0].state, 'insufficient');
  for (let i = 0; i < 100; i++) await ask('live', i % 10);
  await until('all are counted', async () => (await fields()).fields[0].values === 150);
  const [same] = (await fields()).fields;
  assert.deepEqual([same.state, same.linf < 0.001], ['ok', true], `L-infinity is ${same.linf}`);
  assert.equal((await skew()).code, 0);
  for (let i = 0; i < 150; i++) await ask('live', 9);
  await until('the shift is seen', async () => (await fields()).fields[0].values === 300);
  const [shifted] = (await fields()).fields;
  assert.deepEqual(
    [shifted.state, Math.abs(shifted.linf - 0.45) < 0.001],
    ['skewed', true],
    `L-infinity is ${shifted.linf}`,
  );
  const { code, err } = await cli(['models', 'skew', 'live', '--admin', admin]);
  assert.equal(code, 1);
  assert.match(err, /further from its training data than is allowed/);
  await until('the metrics say so', async () => {
    const text = await (await fetch(`http://127.0.0.1:${server.ports.metrics}/metrics`)).text();
    return text.includes('switchyard_validation_skew_exceeded{model="live",version="1",field="x"} 1\n');
  });
});
