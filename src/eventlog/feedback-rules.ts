import type { EventLogConfig } from '../config/event-log-schema.ts';
import type { Redaction } from '../config/log-rule-schema.ts';
import { isOnFeedback } from './encode/redact.ts';
import { strictestByField } from './handover/stricter.ts';
import type { RouteRule } from './handover/targets.ts';
import type { FeedbackRecord } from './record.ts';

/**
 * What is done to feedback before it is written. An event that does not say what it is about may be about anything: every
 * rule that it could fall under holds, so that leaving a name out leaves nothing in.
 */
export function feedbackRedactions(
  { model, route }: Pick<FeedbackRecord, 'model' | 'route'>,
  { rule, models }: Pick<EventLogConfig, 'rule' | 'models'>,
  routes: readonly RouteRule[],
): Redaction[] {
  const named = routes.some((each) => each.route === route);
  const through = routes.filter((each) =>
    named ? each.route === route : model === '' || each.asked?.includes(model) || each.models.includes(model),
  );
  const own = Object.entries(models).filter(
    ([name]) => model === '' || name === model || through.some(({ asked }) => asked?.includes(name) ?? true),
  );
  const rules = [rule, ...own.map(([, each]) => each), ...through.map((each) => each.rule)];
  const redactions = rules.flatMap((each) => each?.redact ?? []).filter(({ field }) => isOnFeedback(field));
  return [...strictestByField(redactions).values()];
}
