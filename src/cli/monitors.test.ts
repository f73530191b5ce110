import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { MonitorRow, RequestTraceRow, RetrainingRow } from '../client/monitors.ts';
import { cli } from '../testing/cli.ts';
import { renderAlerts, renderLineage, renderMonitor, renderMonitors, renderTrace } from './monitors-view.ts';

const folder = mkdtempSync(join(tmpdir(), 'monitors-cli-'));
after(() => rmSync(folder, { recursive: true, force: true }));

const ROW: MonitorRow = {
  name: 'digits',
  model: 'digits',
  origin: 'file',
  level: 'alert',
  reason: 'inputs.x: psi 2, 0.2 allowed',
  version: '1',
  references: [{ version: '1', frozen_at: 1, source: 'the first 1000 rows', rows: 1000, columns: 2 }],
  alarms: [{ signal: 'drift', version: '1', level: 'alert', since: 1, reason: 'inputs.x: psi 2, 0.2 allowed' }],
  last_window: { state: 'drifted', reason: '', rows: 1000, to: 2 },
  labels: { total: 5, pending: 1, unmatched: 0, kept: 5 },
  retraining: { active: null, waiting: 'cooldown', breaker: '', last: null, in_vain: 1 },
};

const RETRAINING: RetrainingRow = {
  id: 'abc',
  model: 'digits',
  cause: 'drift',
  reason: 'psi 2',
  status: 'promoted',
  outcome: 'version 2 is champion',
  created_at: 5,
  ended_at: 9,
  from_version: '1',
  windows: [
    {
      window: 7,
      kind: 'drift',
      state: 'drifted',
      reason: 'psi 2',
      from: 1,
      to: 2,
      first_request: 'r1',
      last_request: 'r9',
    },
  ],
  data: {
    rows: 2000,
    sha256: 'f'.repeat(64),
    file: 'rows.csv',
    first_request: 'r1',
    last_request: 'r9',
    dataset: { name: 'retraining.digits', version: 3 },
  },
  pipeline_run: 'abc',
  steps: [{ name: 'train', kind: 'train', status: 'succeeded', reason: '', job: 'job1', run: 'run1' }],
  version: '2',
  rollout: { route: 'digits', phase: 'succeeded', reason: '', history: [{ at: 8, message: 'weight 20 %' }] },
  evidence: [
    {
      kind: 'gate',
      outcome: 'pass',
      at: 8,
      actor: 'monitor digits',
      detail: { rules: [{ reason: 'accuracy is 0.97, must be >= 0.95' }] },
    },
  ],
  promotion: { alias: 'champion', at: 9, actor: 'rollout', reason: 'rollout of route digits', previous: '1' },
};

test('a monitor is told with its alarms and what retraining waits for', () => {
  assert.match(renderMonitors([ROW]), /digits +digits +1 +alert +drifted +waiting +inputs\.x/);
  assert.match(renderMonitor(ROW, []), /retraining waits: cooldown/);
  const open = { ...ROW, retraining: { ...ROW.retraining!, breaker: 'two did not help' } };
  assert.match(renderMonitor(open, []), /retraining stopped: two did not help; "switchyard monitors reset digits"/);
});

test('a retraining is told from its first request to its promotion', () => {
  const text = renderLineage([RETRAINING]);
  const order = [
    'r1 … r9',
    'window      7',
    'cause       drift',
    '2000 labelled rows',
    'retraining.digits version 3',
    'job job1',
    'version     2',
    'weight 20 %',
    'accuracy is 0.97',
    'version 1 → 2',
  ];
  const places = order.map((part) => text.indexOf(part));
  assert.ok(!places.includes(-1), `${order[places.indexOf(-1)]} is missing in\n${text}`);
  assert.deepEqual(
    places,
    [...places].sort((a, b) => a - b),
  );
  assert.match(renderLineage([]), /nothing/);
});

const ALERT = {
  alert: 1,
  version: '1',
  signal: 'drift',
  level: 'alert',
  reason: 'psi 2',
  window: 7,
  changed_at: 1,
  begun_at: 2,
  alert_at: 2,
  ended_at: 9,
  end_reason: 'version 2 took its place',
};

test('effects are told with their intervals', () => {
  const effects = [{ statistic: 'psi', value: 0.4, threshold: 0.2, interval: { low: 0.3, high: 0.5 } }];
  const columns = [{ name: 'inputs.x', effects, change: '1 … 2: 10 % → 30 %' }, { name: 'inputs.y' }];
  const window = {
    window: 7,
    kind: 'drift',
    version: '1',
    state: 'drifted',
    reason: 'psi 0.4',
    rows: 1000,
    from: 1,
    to: 2,
    first_request: 'r1',
    last_request: 'r9',
    detail: [{ slice: '', columns }],
  };
  assert.match(renderMonitor(ROW, [window]), /inputs\.x +all rows +psi +0\.4 +0\.3 … 0\.5 +0\.2 +1 … 2: 10 % → 30 %/);
  const interval = { low: 0.7, high: 0.9 };
  const detail = { metric: 'accuracy', low: 0.9, high: null, slices: { '': { rows: 40, value: 0.8, interval } } };
  assert.match(
    renderMonitor(ROW, [{ ...window, kind: 'quality', detail }]),
    /- +all rows +accuracy +0\.8 +0\.7 … 0\.9 +≥ 0\.9/,
  );
  assert.match(renderAlerts([ALERT]), /drift +1 +alert .*version 2 took its place +psi 2/);
  assert.equal(renderAlerts([]), 'nothing rang yet');
});

test('a request is told from its record to the promotion, and one that is gone by what is wanting', () => {
  const trace: RequestTraceRow = {
    id: 'r5',
    place: 'spool',
    reason: '',
    oldest_record: 1,
    searched: ['spool'],
    problems: [],
    request: {
      time: 1,
      model: 'digits',
      version: '1',
      route: 'all',
      variant: 'a',
      status: 'ok',
      tenant: 'acme',
      entity: '',
    },
    record: {},
    monitors: [
      {
        monitor: 'digits',
        counted: 'window',
        reason: '',
        windows: [
          { window: 7, kind: 'drift', state: 'drifted', reason: 'psi 2', version: '1', from: 1, to: 2, certain: true },
        ],
        alerts: [ALERT],
        retrainings: [{ ...RETRAINING, by: ['alert', 'data'] }],
      },
    ],
  };
  const text = renderTrace(trace);
  const order = [
    'request r5',
    'record      spool',
    'by version 1 of digits, route all (a): ok',
    'window      7 (drift) of version 1: drifted, psi 2',
    'alert       drift: psi 2',
    'because its window rang, it was learnt from',
    'job job1',
    'evidence    gate: pass',
    'promotion   champion',
  ];
  const places = order.map((part) => text.indexOf(part));
  assert.ok(!places.includes(-1), `${order[places.indexOf(-1)]} is missing in\n${text}`);
  assert.deepEqual(
    places,
    [...places].sort((a, b) => a - b),
  );
  const gone = { ...trace, place: '', reason: 'its record has left retention', request: null, monitors: [] };
  assert.match(renderTrace(gone), /record +none; looked in spool\n +note +its record has left retention/);
});

test('mistakes of a monitor file have line and column', async () => {
  const file = join(folder, 'bad.yaml');
  writeFileSync(
    file,
    'apiVersion: switchyard/v1\nkind: Monitor\nmetadata: {name: m}\nspec:\n  model: m\n  reference: {}\n  statistics: {psi: -1}\n  colums: {}\n',
  );
  const { code, err } = await cli(['monitors', 'validate', file]);
  assert.notEqual(code, 0);
  assert.match(err, /bad\.yaml:6:3: spec\.reference: give records or file/);
  assert.match(err, /bad\.yaml:7:16: spec\.statistics\.psi: /);
  assert.match(err, /bad\.yaml:8:3: unknown setting 'spec\.colums'/);
});
