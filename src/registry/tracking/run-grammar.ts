import { KEYED_OPERATORS, NUMBER_OPERATORS, type SearchGrammar, TEXT_OPERATORS } from '../search/grammar.ts';

const text = { type: 'text', operators: TEXT_OPERATORS } as const;
const number = { type: 'number', operators: NUMBER_OPERATORS } as const;
const keyed = { type: 'text', operators: KEYED_OPERATORS } as const;

/** What searches for runs understand. Names of entities are those of their tables. */
export const RUN_GRAMMAR: SearchGrammar = {
  entities: {
    latest_metrics: number,
    params: keyed,
    tags: keyed,
    datasets: { ...text, keys: ['name', 'digest', 'context'] },
  },
  entityAliases: {
    metrics: 'latest_metrics',
    metric: 'latest_metrics',
    parameters: 'params',
    parameter: 'params',
    param: 'params',
    tag: 'tags',
    dataset: 'datasets',
    run: 'attributes',
  },
  attributes: {
    run_id: text,
    run_name: text,
    status: text,
    user_id: text,
    artifact_uri: text,
    start_time: number,
    end_time: number,
  },
  attributeAliases: {
    created: 'start_time',
    Created: 'start_time',
    'run name': 'run_name',
    'Run name': 'run_name',
    'Run Name': 'run_name',
    'run id': 'run_id',
  },
  orderableEntities: ['latest_metrics', 'params', 'tags'],
};
