import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SwitchyardError } from '../shared/errors.ts';
import { DEFAULT_LOG_SETTINGS, updateLogSettings } from './log-settings.ts';
import { createLogger, scrubPaths } from './logging.ts';
import { TraceSettingsStore } from './trace-settings.ts';
import { formatTraceparent, parseTraceparent, sampledFlag } from './traceparent.ts';

function fails(code: string, pattern: RegExp) {
  return (error: unknown) => error instanceof SwitchyardError && error.code === code && pattern.test(error.message);
}

function capture(settings = { ...DEFAULT_LOG_SETTINGS }) {
  const lines: string[] = [];
  const destination = { write: (line: string) => void lines.push(line) };
  return { lines, ...createLogger({ thread: 'test', settings, destination }) };
}

test('log settings: taken whole or not at all', () => {
  const next = updateLogSettings(DEFAULT_LOG_SETTINGS, {
    log_info: false,
    log_verbose_level: 2,
    log_format: 'ISO8601',
  });
  assert.deepEqual(next, { ...DEFAULT_LOG_SETTINGS, log_info: false, log_verbose_level: 2, log_format: 'ISO8601' });
  const bad: [Record<string, unknown>, string, RegExp][] = [
    [{ log_info: 'yes' }, 'invalid_argument', /log_info: "yes".*true or false/],
    [{ log_verbose_level: -1 }, 'invalid_argument', /log_verbose_level: -1/],
    [{ log_verbose_level: 1.5 }, 'invalid_argument', /log_verbose_level/],
    [{ log_format: 'xml' }, 'invalid_argument', /log_format: "xml"/],
    [{ log_file: 'other.log' }, 'unsupported', /log_file/],
    [{ __proto__x: 1 }, 'invalid_argument', /unknown log setting/],
  ];
  for (const [update, code, pattern] of bad) {
    assert.throws(() => updateLogSettings(DEFAULT_LOG_SETTINGS, { log_error: false, ...update }), fails(code, pattern));
  }
  assert.equal(DEFAULT_LOG_SETTINGS.log_error, true);
  assert.deepEqual(updateLogSettings(DEFAULT_LOG_SETTINGS, { log_file: '' }), DEFAULT_LOG_SETTINGS);
});

test('each log switch works on the running logger, independently', () => {
  const { lines, logger, apply } = capture();
  const all = () => {
    lines.length = 0;
    logger.trace('trace');
    logger.debug('debug');
    logger.info('info');
    logger.warn('warn');
    logger.error('error');
    return lines.map((line) => JSON.parse(line).msg).join(' ');
  };
  assert.equal(all(), 'info warn error');
  apply({ ...DEFAULT_LOG_SETTINGS, log_warning: false });
  assert.equal(all(), 'info error');
  apply({ ...DEFAULT_LOG_SETTINGS, log_info: false });
  assert.equal(all(), 'warn error');
  apply({ ...DEFAULT_LOG_SETTINGS, log_info: false, log_warning: false, log_error: false });
  assert.equal(all(), '');
  apply({ ...DEFAULT_LOG_SETTINGS, log_verbose_level: 1 });
  assert.equal(all(), 'debug info warn error');
  apply({ ...DEFAULT_LOG_SETTINGS, log_verbose_level: 2, log_info: false });
  assert.equal(all(), 'trace debug warn error');
  apply({ ...DEFAULT_LOG_SETTINGS, log_format: 'ISO8601' });
  all();
  assert.match(JSON.parse(lines[0]).time, /^\d{4}-\d\d-\d\dT/);
});

test('credentials, host and folders stay out of the log', () => {
  const { lines, logger } = capture();
  const headers = { authorization: 'Bearer s3cret', 'x-api-key': 's3cret', cookie: 's3cret', host: 'h' };
  logger.info({ ...headers, headers, request: { headers }, apiKey: 's3cret' }, 'request');
  const error = new Error("cannot open '/srv/models/private/model.onnx'", {
    cause: new Error('/etc/keys/k.pem is missing'),
  });
  logger.error({ err: error }, 'load failed');
  const text = lines.join('');
  assert.ok(!text.includes('s3cret'));
  assert.ok(!text.includes('hostname'));
  assert.ok(!/\/srv\/|\/etc\//.test(text) && !text.includes(process.cwd()));
  assert.match(text, /model\.onnx/);
});

test('scrubbing keeps URLs and routes readable', () => {
  assert.equal(scrubPaths('at f (file:///work/x/src/a.ts:3:1)'), 'at f (…/a.ts:3:1)');
  assert.equal(
    scrubPaths('GET http://127.0.0.1:8000/v2/models/m/infer'),
    'GET http://127.0.0.1:8000/v2/models/m/infer',
  );
  assert.equal(scrubPaths('and/or 1/2'), 'and/or 1/2');
});

test('trace settings: global, by model, and back', () => {
  const store = new TraceSettingsStore({ on: false, rate: 1000, count: -1 });
  assert.deepEqual(store.update('', undefined), {
    trace_level: ['OFF'],
    trace_rate: '1000',
    trace_count: '-1',
    log_frequency: '0',
    trace_file: '',
    trace_mode: 'opentelemetry',
  });
  store.update('', { trace_level: ['TIMESTAMPS'], trace_rate: ['5'] });
  const own = store.update('m', { trace_rate: '1', trace_count: 3, trace_mode: 'opentelemetry', log_frequency: '0' });
  assert.deepEqual([own.trace_level, own.trace_rate, own.trace_count], [['TIMESTAMPS'], '1', '3']);
  assert.equal(store.update('other', undefined).trace_rate, '5');
  store.update('', { trace_rate: '7' });
  assert.equal(store.update('m', undefined).trace_rate, '1');
  assert.equal(store.update('m', { trace_rate: null, trace_count: [] }).trace_rate, '7');
  assert.equal(store.state.models.size, 0);
  assert.equal(store.update('', { trace_rate: null }).trace_rate, '1000');
});

test('trace settings that would not act are refused, and nothing of the update is taken', () => {
  const store = new TraceSettingsStore({ on: true, rate: 10, count: -1 });
  const bad: [Record<string, unknown>, string, RegExp][] = [
    [{ trace_level: ['TENSORS'] }, 'unsupported', /TENSORS/],
    [{ trace_level: ['LOUD'] }, 'invalid_argument', /trace_level/],
    [{ trace_level: ['OFF', 'TIMESTAMPS'] }, 'invalid_argument', /stands alone/],
    [{ trace_rate: 'often' }, 'invalid_argument', /trace_rate: "often"/],
    [{ trace_rate: '1e3' }, 'invalid_argument', /trace_rate/],
    [{ trace_count: '-2' }, 'invalid_argument', /trace_count: "-2"/],
    [{ trace_file: 'x.json' }, 'unsupported', /trace_file/],
    [{ trace_mode: 'triton' }, 'unsupported', /trace_mode/],
    [{ log_frequency: '50' }, 'unsupported', /log_frequency/],
    [{ trace_speed: '1' }, 'invalid_argument', /unknown trace setting "trace_speed"/],
  ];
  for (const [update, code, pattern] of bad) {
    assert.throws(
      () => store.update('', { trace_level: 'OFF', ...update }),
      fails(code, pattern),
      JSON.stringify(update),
    );
    assert.deepEqual(store.state.global, { on: true, rate: 10, count: -1, counter: 0 });
  }
});

test('traceparent: what is written is read, what is malformed is ignored', () => {
  const hex = (length: number) =>
    fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length });
  fc.assert(
    fc.property(hex(32), hex(16), fc.boolean(), (traceId, spanId, sampled) => {
      fc.pre(/[1-9a-f]/.test(traceId) && /[1-9a-f]/.test(spanId));
      const text = formatTraceparent({ traceId, spanId, sampled });
      assert.deepEqual(parseTraceparent(text), { traceId, spanId, sampled });
      assert.equal(sampledFlag(text), sampled ? 1 : 0);
    }),
  );
  const id = '0af7651916cd43dd8448eb211c80319c';
  const span = 'b7ad6b7169203331';
  for (const text of [
    '',
    `00-${'0'.repeat(32)}-${span}-01`,
    `00-${id}-${'0'.repeat(16)}-01`,
    `ff-${id}-${span}-01`,
    `00-${id}-${span}-01-more`,
    `00-${id.toUpperCase()}-${span}-01`,
    `00-${id}-${span}-0g`,
  ]) {
    assert.equal(parseTraceparent(text), undefined, text);
  }
  assert.equal(parseTraceparent(`01-${id}-${span}-03-more`)?.sampled, true);
  assert.equal(sampledFlag(''), -1);
  assert.equal(sampledFlag(`00-${id}-${span}-0g`), -1);
});
