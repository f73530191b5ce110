import { IS_ANALYSED, IS_SHADOW, ORIGIN_TEXTS } from '../handover/memory.ts';
import type { DefinedOrigin, DefinedText } from '../handover/ring-reader.ts';
import { SCHEMA_VERSION } from '../record.ts';
import { AvroWriter } from './avro-writer.ts';
import { type Action, type Hash, isOfFeedback, Redactions, redactText } from './redact.ts';
import { Templates } from './template.ts';

/** What is the same of all records of an origin, as its rule says. Made once, when the first of them comes. */
export interface OriginPlan {
  /** The record from `route` to `schemaVersion`, encoded. */
  shared: Uint8Array;
  redactions: Redactions;
  /** Redacted tenant: an entity may be it. */
  tenant: string;
  /** Lines of redactions that every record of the origin shows. */
  lines: string[];
  /** By number of the name; null: none. */
  inputs: (Action | null | undefined)[];
  outputs: (Action | null | undefined)[];
  limit: number;
  /** A bandit's context is made of what the rule may take out. */
  hidesContext: boolean;
  /** Undefined: its records are redacted or name an entity, and each is encoded by itself. */
  templates: Templates | undefined;
}

export function planOf(origin: DefinedOrigin, hash: Hash): OriginPlan {
  const { rule, texts, flags } = origin;
  const redactions = new Redactions(rule.redact);
  const tenant = redactText(redactions.text('tenant'), texts.tenant.text, hash);
  const shared = new AvroWriter();
  for (const name of ORIGIN_TEXTS) shared.string(name === 'tenant' ? tenant : texts[name].text);
  shared.byte((flags & IS_SHADOW) === 0 ? 0 : 1);
  shared.byte((flags & IS_ANALYSED) === 0 ? 0 : 1);
  shared.double(rule.sample);
  shared.long(SCHEMA_VERSION);
  const lines = (['entity', 'tenant', 'requestId'] as const).flatMap((field) => redactions.text(field)?.line ?? []);
  return {
    shared: shared.u8.slice(0, shared.at),
    redactions,
    tenant,
    lines,
    inputs: [],
    outputs: [],
    limit: rule.payloadLimitBytes,
    hidesContext: rule.redact.some(({ field }) => field.startsWith('inputs.')),
    templates:
      rule.redact.some(({ field }) => !isOfFeedback(field)) || rule.entity !== undefined ? undefined : new Templates(),
  };
}

/** What is done to a column, looked up once for each name. Null: nothing. */
export function actionOf(
  plan: OriginPlan,
  side: 'inputs' | 'outputs',
  actions: (Action | null | undefined)[],
  name: number,
  texts: readonly DefinedText[],
): Action | null {
  let action = actions[name];
  if (action === undefined) {
    action = plan.redactions.column(side, texts[name].text) ?? null;
    actions[name] = action;
  }
  return action;
}
