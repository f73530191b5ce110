import { createHmac } from 'node:crypto';
import type { Redaction } from '../../config/log-rule-schema.ts';
import { stricter, strictestByField } from '../handover/stricter.ts';

/** What happens to one field, with the line that the record shows for it. */
export interface Action {
  kind: Redaction['action'];
  length: number;
  line: string;
}

export type Hash = (text: string) => string;

/** Keyed, so that nobody without the salt can try values out; the same value gives the same text. 128 bits. */
export function hashWith(salt: string): Hash {
  return (text) => createHmac('sha256', salt).update(text).digest('hex').slice(0, 32);
}

/** Actions by field: 'inputs.age', 'inputs.*', 'tenant' … Of several for one field the strictest holds. */
export class Redactions {
  private readonly byField: ReadonlyMap<string, Redaction>;

  constructor(redactions: readonly Redaction[]) {
    this.byField = strictestByField(redactions);
  }

  /** Of a column's own redaction and that of all columns the stricter one. */
  column(side: 'inputs' | 'outputs' | 'rewards', name: string): Action | undefined {
    const own = this.byField.get(`${side}.${name}`);
    const all = this.byField.get(`${side}.*`);
    return actionOf(own === undefined || all === undefined ? (own ?? all) : stricter(own, all));
  }

  text(field: 'entity' | 'tenant' | 'requestId' | 'label'): Action | undefined {
    return actionOf(this.byField.get(field));
  }
}

function actionOf(redaction: Redaction | undefined): Action | undefined {
  if (redaction === undefined) return undefined;
  const { field, action, length } = redaction;
  return { kind: action, length: length ?? 0, line: `${field}: ${action}` };
}

/** Of labels and rewards, which come after the request. */
export function isOfFeedback(field: string): boolean {
  return field === 'label' || field.startsWith('rewards.');
}

/** Of what feedback has, be it that requests have it, too. */
export function isOnFeedback(field: string): boolean {
  return isOfFeedback(field) || field === 'tenant';
}

/** A text after its redaction. */
export function redactText(action: Action | undefined, text: string, hash: Hash): string {
  if (action === undefined || text === '') return text;
  switch (action.kind) {
    case 'drop':
    case 'mask':
      return '';
    case 'hash':
      return hash(text);
    case 'truncate':
      return Array.from(text).slice(0, action.length).join('');
  }
}

/** A number with its decimals cut off, towards zero. */
export function truncateNumber(value: number, decimals: number): number {
  const factor = 10 ** Math.min(decimals, 15);
  const cut = Math.trunc(value * factor) / factor;
  return Number.isFinite(cut) ? cut : value;
}
