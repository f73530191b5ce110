import { viewOf } from '../features/documents/catalog.ts';
import { hasWindows, type WindowView } from '../features/windows/events.ts';
import { document, featureSet } from './features.ts';

const NUMBERS = ['sum', 'mean', 'min', 'max', 'last', 'stddev'];
const slides = (name: string, type: string, aggregate: object): object[] => [
  { name: `${name}_10s`, type, aggregate: { ...aggregate, window: '10s' } },
  { name: `${name}_1m`, type, aggregate: { ...aggregate, window: '1m', slide: '20s' } },
];

/** Every aggregate over a tumbling and a sliding window, in panes of ten seconds. */
export const WINDOW_FEATURES = [
  ...slides('events', 'int64', { of: 'count' }),
  ...slides('values', 'int32', { of: 'count', column: 'amount' }),
  ...NUMBERS.flatMap((of) => slides(of, 'float64', { of, column: 'amount' })),
  ...slides('total', 'int64', { of: 'sum', column: 'whole' }),
  ...slides('least', 'int64', { of: 'min', column: 'whole' }),
  ...slides('shops', 'int64', { of: 'countDistinct', column: 'shop', limit: 3 }),
  ...slides('shop', 'string', { of: 'last', column: 'shop' }),
];

export function windowDocuments(spec: object = {}): object[] {
  return [
    document('Entity', 'card', { joinKey: 'card', type: 'string' }),
    document('FeatureView', 'activity', { entities: ['card'], lateness: '20s', features: WINDOW_FEATURES, ...spec }),
  ];
}

export function windowView(spec: object = {}): WindowView {
  const view = viewOf(featureSet(windowDocuments(spec)), 'activity');
  if (!hasWindows(view)) throw new Error('the view has no windows');
  return view;
}
