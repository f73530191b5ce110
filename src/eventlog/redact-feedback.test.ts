import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type LogRule, logRuleSchema } from '../config/log-rule-schema.ts';
import { hashWith } from './encode/redact.ts';
import { redactFeedback } from './encode/redact-feedback.ts';
import { feedbackRedactions } from './feedback-rules.ts';
import type { RouteRule } from './handover/targets.ts';
import { LogPipeline } from './pipeline.ts';
import type { FeedbackRecord } from './record.ts';
import { Spool } from './spool/spool.ts';

const hash = hashWith('salt');
const rule = (...redact: object[]): LogRule => logRuleSchema.parse({ redact });
const feedback = (more: Partial<FeedbackRecord>): FeedbackRecord => ({
  id: 'a',
  time: 1,
  route: '',
  model: '',
  rewards: {},
  tenant: '',
  ...more,
});

function redacted(record: Partial<FeedbackRecord>, ...redact: object[]): Partial<FeedbackRecord> {
  const { label, rewards } = redactFeedback(feedback(record), rule(...redact).redact ?? [], hash);
  return { ...(label === undefined ? {} : { label }), rewards: { ...rewards } };
}

test('a label is dropped, masked, hashed and truncated wherever a text or a number stands in it', () => {
  const label = JSON.stringify({ name: 'Ada', born: 1815.75, tags: ['poet', null, true] });
  const of = (action: object) => redacted({ label }, { field: 'label', ...action });
  assert.deepEqual(of({ action: 'drop' }), { rewards: {} });
  assert.deepEqual(of({ action: 'mask' }), { label: 'null', rewards: {} });
  assert.deepEqual(JSON.parse(of({ action: 'hash' }).label ?? ''), {
    name: hash('Ada'),
    born: hash('1815.75'),
    tags: [hash('poet'), null, hash('true')],
  });
  assert.deepEqual(JSON.parse(of({ action: 'truncate', length: 1 }).label ?? ''), {
    name: 'A',
    born: 1815.7,
    tags: ['p', null, true],
  });
  const deep = `${'['.repeat(5000)}"secret"${']'.repeat(5000)}`;
  assert.equal(redacted({ label: deep }, { field: 'label', action: 'hash' }).label, 'null');
});

test('rewards are dropped and truncated by name; other fields of a rule do not touch feedback', () => {
  const rewards = { reward: 1.25, revenue: 99.99 };
  assert.deepEqual(redacted({ rewards }, { field: 'rewards.revenue', action: 'drop' }), { rewards: { reward: 1.25 } });
  assert.deepEqual(redacted({ rewards }, { field: 'rewards.*', action: 'truncate', length: 1 }), {
    rewards: { reward: 1.2, revenue: 99.9 },
  });
  const both = [
    { field: 'rewards.*', action: 'truncate', length: 0 },
    { field: 'rewards.revenue', action: 'drop' },
  ];
  assert.deepEqual(redacted({ rewards }, ...both), { rewards: { reward: 1 } });
  assert.deepEqual(redacted({ rewards, label: '1' }, { field: 'outputs.*', action: 'drop' }), { rewards, label: '1' });
  const wrong = logRuleSchema.safeParse({ redact: [{ field: 'rewards.x', action: 'hash' }] });
  assert.match(wrong.error?.issues[0].message ?? '', /drop or truncate, not hash/);
});

test('feedback falls under the rules of what it is about, and under all of them where it does not say', () => {
  const drop = (field: string) => rule({ field, action: 'drop' });
  const config = { rule: drop('label'), models: { a: drop('rewards.a'), b: drop('rewards.b') } };
  const routes: RouteRule[] = [
    { route: 'a', asked: ['a'], models: ['a1', 'a2'], rule: drop('rewards.route') },
    { route: 'c', asked: ['c'], models: ['c1'], rule: drop('rewards.c') },
  ];
  const fields = (model: string, route = '') =>
    feedbackRedactions({ model, route }, config, routes)
      .map(({ field }) => field)
      .sort();
  assert.deepEqual(fields('b'), ['label', 'rewards.b']);
  assert.deepEqual(fields('a1'), ['label', 'rewards.a', 'rewards.route'], 'asked for under the name of its route');
  assert.deepEqual(fields('c1', 'c'), ['label', 'rewards.c']);
  assert.deepEqual(fields(''), ['label', 'rewards.a', 'rewards.b', 'rewards.c', 'rewards.route']);
  assert.deepEqual(fields('', 'c'), ['label', 'rewards.a', 'rewards.b', 'rewards.c'], 'the model is not said');
  assert.deepEqual(fields('b', 'nowhere'), ['label', 'rewards.b']);
});

test('what a rule takes out of feedback reaches no disk', () => {
  const dir = mkdtempSync(join(tmpdir(), 'redact-feedback-'));
  const spool = new Spool({ dir, segmentBytes: 1 << 20, maxBytes: 1 << 24, whenFull: 'drop-oldest', fsync: 'never' });
  try {
    const pipeline = new LogPipeline([], undefined as never, spool, new Float64Array(8), hash);
    const { redact = [] } = rule({ field: 'label', action: 'hash' });
    pipeline.recordFeedback([feedback({ id: 'kept-id', label: '"the secret"' })], [redact]);
    const bytes = Buffer.concat(readdirSync(dir).map((name) => readFileSync(join(dir, name)))).toString('latin1');
    assert.ok(bytes.includes('kept-id') && bytes.includes(hash('the secret')), 'it is recorded');
    assert.ok(!bytes.includes('the secret'), 'its label is not');
  } finally {
    spool.close();
    rmSync(dir, { recursive: true, force: true });
  }
});

test('the tenant who told is redacted as that of requests is, and taken out it is nobody’s name', () => {
  const of = (tenant: string, action: object) =>
    redactFeedback(feedback({ tenant }), rule({ field: 'tenant', ...action }).redact ?? [], hash).tenant;
  assert.equal(of('acme', { action: 'hash' }), hash('acme'));
  assert.equal(of('acme', { action: 'truncate', length: 2 }), 'ac');
  for (const action of ['drop', 'mask']) {
    assert.equal(of('acme', { action }), '*', 'what has no tenant is told for all of them');
    assert.equal(of('', { action }), '');
  }
});
