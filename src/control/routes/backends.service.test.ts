import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { until } from '../../testing/script-models.ts';
import { FIXTURES, ServerProcess } from '../../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-backends-'));
let server: ServerProcess | undefined;
after(async () => {
  await server?.stop();
  rmSync(scratch, { recursive: true, force: true });
});

const ROUTES = `apiVersion: switchyard/v1
kind: Route
metadata: {name: sums}
spec:
  unit: {from: [{header: x-user}]}
  variants: {here: {model: simple}, there: {model: add_sub}}
  overrides: [{headers: {x-copied: "yes"}, variant: here, analysed: true}]
  shadow: {variant: there, timeout: 10s}
  strategy: {weighted: {here: 50, there: 50}}
`;

const row = Array.from({ length: 16 }, (_, i) => i);
const inputs = ['INPUT0', 'INPUT1'].map((name) => ({ name, shape: [1, 16], datatype: 'INT32', data: row }));

async function ask(headers: Record<string, string>): Promise<string> {
  const request = { method: 'POST', headers, body: JSON.stringify({ inputs }) };
  const response = await fetch((server as ServerProcess).url('/v2/models/sums/infer'), request);
  const { outputs } = (await response.json()) as { outputs: { name: string; data: number[] }[] };
  const sum = outputs.find(({ name }) => name === 'OUTPUT0');
  assert.deepEqual(
    sum?.data,
    row.map((value) => 2 * value),
  );
  return response.headers.get('x-switchyard-variant') ?? '';
}

test('one route has a variant on ONNX Runtime here and one on Triton there, sticky, and shadows one with the other', async () => {
  const url = process.env.SWITCHYARD_TEST_TRITON_URL;
  assert.ok(url, 'SWITCHYARD_TEST_TRITON_URL must name a Triton, as .ci/services/triton.sh run starts one');
  mkdirSync(join(scratch, 'models'));
  cpSync(join(FIXTURES, 'simple'), join(scratch, 'models/simple'), { recursive: true });
  writeFileSync(join(scratch, 'routes.yaml'), ROUTES);
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(
    config,
    `models:\n  repositories: [models]\n  remotes: [{name: triton, url: "${url}", refreshSeconds: 0.5}]\nroutes: {files: [routes.yaml]}\n`,
  );
  server = await ServerProcess.start(['--config', config, '--no-supervise']);
  const ready = (model: string) => async () =>
    (await fetch((server as ServerProcess).url(`/v2/models/${model}/ready`))).status === 200;
  await until("Triton's model is served", ready('add_sub'));
  const counts: Record<string, number> = { here: 0, there: 0 };
  for (let user = 0; user < 40; user++) {
    const variant = await ask({ 'x-user': `u${user}` });
    counts[variant]++;
    assert.equal(await ask({ 'x-user': `u${user}` }), variant);
  }
  assert.ok(counts.here > 5 && counts.there > 5, JSON.stringify(counts));

  interface Shadow {
    match: number;
    mismatch: number;
    failed: number;
  }
  let shadow: Shadow | undefined;
  await until('copies to Triton were compared', async () => {
    await ask({ 'x-copied': 'yes' });
    const response = await fetch(`http://127.0.0.1:${(server as ServerProcess).ports.admin}/api/v1/routes/sums`);
    const { variants } = (await response.json()) as { variants: { name: string; shadow?: Shadow }[] };
    shadow = variants.find(({ name }) => name === 'there')?.shadow;
    return (shadow?.match ?? 0) >= 20;
  });
  assert.equal(shadow?.mismatch, 0);
});
