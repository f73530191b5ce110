import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConfigError } from '../config/yaml-file.ts';
import { loadMonitorFiles, MonitorBook } from './load.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'monitor-documents-'));
after(() => rmSync(folder, { recursive: true, force: true }));

test('the monitors of the repository and of its documentation are valid', () => {
  assert.deepEqual([...loadMonitorFiles(['config/monitors'], ROOT).keys()], ['digits']);
  const page = readFileSync(join(ROOT, 'docs/monitoring.md'), 'utf8');
  const text = /```yaml\n(apiVersion[\s\S]*?)```/.exec(page)?.[1] ?? '';
  writeFileSync(join(folder, 'docs.yaml'), text);
  assert.deepEqual([...loadMonitorFiles(['docs.yaml'], folder).keys()], ['churn']);
});

const head = 'apiVersion: switchyard/v1\nkind: Monitor\nmetadata: {name: m}\n';

test('what does not fit together is named with its place', () => {
  const cases: [string, RegExp][] = [
    ['{model: m, reference: {records: 500, file: a.csv}}', /4:\d+: spec\.reference: give records or file/],
    [
      '{model: m, reference: {records: 500, seasonal: hourOfDay}}',
      /spec\.reference\.learn: a seasonal reference has to learn/,
    ],
    [
      '{model: m, reference: {records: 500}, alert: {windows: 4, of: 3}}',
      /spec\.alert: windows must not be more than of/,
    ],
    ['{model: m, reference: {records: 500}, retrain: {pipeline: p}}', /spec\.retrain: retraining learns from labels/],
    ['{model: m, reference: {records: 500}, statistics: {}}', /spec\.statistics: give one of psi/],
    [
      '{model: m, reference: {records: 500}, quality: {prediction: outputs.y, metrics: [{metric: mae}]}}',
      /give min, max or sigmas/,
    ],
    ['{model: m, reference: {records: 500}, slices: [{by: color}]}', /tenant, route, variant/],
  ];
  for (const [spec, expected] of cases) {
    writeFileSync(join(folder, 'bad.yaml'), `${head}spec: ${spec}\n`);
    assert.throws(
      () => loadMonitorFiles(['bad.yaml'], folder),
      (error: unknown) => error instanceof ConfigError && expected.test(error.message),
      spec,
    );
  }
});

test('monitors of files win over the API, and a bad change changes nothing', () => {
  writeFileSync(join(folder, 'good.yaml'), `${head}spec: {model: m, reference: {records: 500}}\n`);
  const book = new MonitorBook(['good.yaml'], folder);
  book.readFiles();
  const document = { apiVersion: 'switchyard/v1', kind: 'Monitor', metadata: { name: 'n' }, spec: { model: 'm' } };
  assert.throws(() => book.check([{ name: 'm', body: document }]), /Monitor m is in a file/);
  assert.throws(() => book.check([{ name: 'n', body: document }]), /spec\.reference/);
  assert.throws(() => book.check([{ name: 'n', body: undefined }]), /there is no monitor n/);
  book.change([{ name: 'n', body: { ...document, spec: { ...document.spec, reference: { records: 500 } } } }]);
  assert.deepEqual([...book.all.keys()], ['m', 'n']);
  assert.equal(book.origin('n'), 'api');
});
