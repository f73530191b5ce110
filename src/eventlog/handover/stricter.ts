import type { Redaction } from '../../config/log-rule-schema.ts';

/** What leaves less of a value stands behind. */
const STRICTNESS: readonly Redaction['action'][] = ['truncate', 'hash', 'mask', 'drop'];

/** Of two redactions of one field the one that leaves less. */
export function stricter(a: Redaction, b: Redaction): Redaction {
  const difference = STRICTNESS.indexOf(a.action) - STRICTNESS.indexOf(b.action);
  if (difference !== 0) return difference > 0 ? a : b;
  return (a.length ?? 0) <= (b.length ?? 0) ? a : b;
}

/** Redactions by field; of several for one field the strictest holds. */
export function strictestByField(redactions: Iterable<Redaction>): Map<string, Redaction> {
  const byField = new Map<string, Redaction>();
  for (const redaction of redactions) {
    const known = byField.get(redaction.field);
    byField.set(redaction.field, known === undefined ? redaction : stricter(known, redaction));
  }
  return byField;
}
