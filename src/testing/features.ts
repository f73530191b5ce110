import { buildSet, type FeatureSet } from '../features/documents/catalog.ts';
import { type FeatureDocument, readDocument } from '../features/documents/schema.ts';

/** Two views of drivers and one of pairs, as documents. */
export const DRIVER_DOCUMENTS = [
  document('Entity', 'driver', { joinKey: 'driver_id' }),
  document('Entity', 'city', { joinKey: 'city', type: 'string' }),
  document('FeatureView', 'driver_stats', {
    entities: ['driver'],
    ttl: '1d',
    features: [
      { name: 'conv_rate', type: 'float32' },
      { name: 'trips', type: 'int64', default: -1 },
      { name: 'active', type: 'bool' },
      { name: 'home', type: 'string' },
    ],
  }),
  document('FeatureView', 'embeddings', {
    entities: ['driver'],
    features: [{ name: 'vector', type: 'float32', length: 2 }],
  }),
  document('FeatureView', 'city_stats', {
    entities: ['driver', 'city'],
    scope: 'shared',
    features: [{ name: 'trips', type: 'int32' }],
  }),
  document('FeatureService', 'ranking', {
    features: [{ view: 'driver_stats', features: ['trips', 'conv_rate'] }, { view: 'embeddings' }],
  }),
];

export function document(kind: string, name: string, spec: object): object {
  return { apiVersion: 'switchyard/v1', kind, metadata: { name }, spec };
}

/** Throws with the first mistake. */
export function featureSet(documents: readonly object[] = DRIVER_DOCUMENTS): FeatureSet {
  const read = documents.map((plain): FeatureDocument => {
    const result = readDocument(plain);
    if (result.document === undefined) throw new Error(JSON.stringify(result.issues));
    return result.document;
  });
  const { set, problems } = buildSet(read);
  if (problems.length > 0) throw new Error(JSON.stringify(problems));
  return set;
}
