import { invalidArgument } from '../../shared/errors.ts';

/** Something that happened, as a webhook subscribes to it. */
export interface WebhookEvent {
  entity: string;
  action: string;
}

/**
 * What MLflow's own clients know, and what happens here: budget_policy.exceeded is of MLflow's own gateway, and a webhook that
 * could never be sent anything is refused. Clients cannot read an answer that names anything else.
 */
const MLFLOW_EVENTS: Readonly<Record<string, readonly string[]>> = {
  registered_model: ['created'],
  model_version: ['created'],
  model_version_tag: ['set', 'deleted'],
  model_version_alias: ['created', 'deleted'],
  prompt: ['created'],
  prompt_version: ['created'],
  prompt_tag: ['set', 'deleted'],
  prompt_version_tag: ['set', 'deleted'],
  prompt_alias: ['created', 'deleted'],
};

const OWN_EVENTS: Readonly<Record<string, readonly string[]>> = {
  model_version_approval: ['set'],
  model_version_evidence: ['created'],
  model_version_stage: ['set'],
  gateway: ['created', 'updated', 'deleted'],
  run: ['created', 'updated', 'deleted'],
  job: ['created', 'updated', 'deleted'],
  sweep: ['created', 'updated'],
  sweep_trial: ['updated'],
  pipeline_run: ['created', 'updated'],
  pipeline_step: ['updated'],
  evaluation: ['created'],
  gate: ['decided'],
  promotion: ['created'],
  trigger: ['fired'],
  drift: ['set', 'deleted'],
  dataset: ['created'],
};

export const ALL_EVENTS: readonly string[] = Object.entries({ ...MLFLOW_EVENTS, ...OWN_EVENTS }).flatMap(
  ([entity, actions]) => actions.map((action) => `${entity}.${action}`),
);

export function isMlflowEvent({ entity, action }: WebhookEvent): boolean {
  return Object.hasOwn(MLFLOW_EVENTS, entity) && MLFLOW_EVENTS[entity].includes(action);
}

/** Reads `{"entity": "MODEL_VERSION", "action": "CREATED"}`. Throws invalid_argument naming what is allowed. */
export function readEvent(value: unknown, what: string): WebhookEvent {
  const { entity, action } = (typeof value === 'object' && value !== null ? value : {}) as Record<string, unknown>;
  if (typeof entity === 'string' && typeof action === 'string') {
    const event = { entity: entity.toLowerCase(), action: action.toLowerCase() };
    if (ALL_EVENTS.includes(`${event.entity}.${event.action}`)) return event;
  }
  const given = JSON.stringify(value)?.slice(0, 200) ?? 'nothing';
  throw invalidArgument(
    `${what} is ${given}; give {"entity": …, "action": …} of ${ALL_EVENTS.join(', ')}, such as {"entity": "MODEL_VERSION", "action": "CREATED"}`,
  );
}

/** As MLflow's JSON writes enumerations. */
export function writeEvent({ entity, action }: WebhookEvent): { entity: string; action: string } {
  return { entity: entity.toUpperCase(), action: action.toUpperCase() };
}

/** What a test call sends for each of MLflow's events; our own send the event's name alone. */
export function exampleData({ entity, action }: WebhookEvent): Record<string, unknown> {
  const name = entity.startsWith('prompt') ? 'example_prompt' : 'example_model';
  const tag = action === 'set' ? { key: 'example_key', value: 'example_value' } : { key: 'example_key' };
  const tags = { example_key: 'example_value' };
  switch (entity) {
    case 'registered_model':
    case 'prompt':
      return { name, tags, description: 'An example' };
    case 'model_version':
      return {
        name,
        version: '1',
        source: 'models:/m-123',
        run_id: 'abcd1234abcd5678',
        tags,
        description: 'An example',
      };
    case 'prompt_version':
      return { name, version: '1', template: 'Hello {{name}}!', tags, description: 'An example' };
    case 'model_version_tag':
    case 'prompt_version_tag':
      return { name, version: '1', ...tag };
    case 'prompt_tag':
      return { name, ...tag };
    case 'model_version_alias':
    case 'prompt_alias':
      return { name, alias: 'example_alias', ...(action === 'created' ? { version: '1' } : {}) };
    default:
      return { name: 'example' };
  }
}
