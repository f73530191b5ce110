import type { Redaction } from '../../config/log-rule-schema.ts';
import { MAX_JSON_DEPTH } from '../../shared/json-depth.ts';
import type { FeedbackRecord } from '../record.ts';
import { type Action, type Hash, Redactions, redactText, truncateNumber } from './redact.ts';

/** A tenant that was taken out, and no tenant's name: one that is left out would be told for all tenants. */
const SOMEBODY = '*';

/**
 * Feedback after its redactions. A label is JSON: `hash` and `truncate` are done to each text and number in it, and a masked
 * one is null, which says that there was one; so is one that nests too deeply to be redacted.
 */
export function redactFeedback(record: FeedbackRecord, redact: readonly Redaction[], hash: Hash): FeedbackRecord {
  if (redact.length === 0) return record;
  const redactions = new Redactions(redact);
  const { label, ...others } = record;
  const tenant = redactText(redactions.text('tenant'), record.tenant, hash);
  const rest = { ...others, tenant: tenant === '' && record.tenant !== '' ? SOMEBODY : tenant };
  const rewards: Record<string, number> = Object.create(null);
  for (const [name, value] of Object.entries(record.rewards)) {
    const action = redactions.column('rewards', name);
    if (action?.kind !== 'drop') rewards[name] = action === undefined ? value : truncateNumber(value, action.length);
  }
  const action = redactions.text('label');
  if (label === undefined || action?.kind === 'drop') return { ...rest, rewards };
  return { ...rest, rewards, label: action === undefined ? label : redactLabel(action, label, hash) };
}

function redactLabel(action: Action, label: string, hash: Hash): string {
  if (action.kind === 'mask') return 'null';
  try {
    return JSON.stringify(redactValue(action, JSON.parse(label), hash, MAX_JSON_DEPTH));
  } catch {
    return 'null';
  }
}

function redactValue(action: Action, value: unknown, hash: Hash, depth: number): unknown {
  if (depth === 0) throw new RangeError('the label nests too deep');
  if (typeof value === 'string') return redactText(action, value, hash);
  if (typeof value === 'number' || typeof value === 'boolean') {
    if (action.kind === 'hash') return hash(String(value));
    return typeof value === 'number' ? truncateNumber(value, action.length) : value;
  }
  if (Array.isArray(value)) return value.map((item) => redactValue(action, item, hash, depth - 1));
  if (value === null) return null;
  const entries = Object.entries(value as object);
  return Object.fromEntries(entries.map(([name, item]) => [name, redactValue(action, item, hash, depth - 1)]));
}
