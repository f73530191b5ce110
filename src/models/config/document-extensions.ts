import { type FeatureJoin, readFeatureJoin } from '../../config/feature-join.ts';
import { type ModelValidation, readModelValidation } from '../../config/model-validation.ts';
import { EXTENSION_PREFIX } from './schema.ts';

/** The `switchyard.*` parameters of a model that are documents of their own. */
export interface DocumentExtensions {
  /** Inputs that come from the feature store. */
  features?: FeatureJoin;
  /** What requests are checked by at the door. */
  validation?: ModelValidation;
}

/** Throws invalid_argument naming the parameter and everything that is wrong in it. */
export function readDocumentExtensions(parameters: Readonly<Record<string, string>>): DocumentExtensions {
  const result: DocumentExtensions = {};
  const [features, validation] = ['features', 'validation'].map((name) => EXTENSION_PREFIX + name);
  if (parameters[features]) result.features = readFeatureJoin(parameters[features], features);
  if (parameters[validation]) result.validation = readModelValidation(parameters[validation], validation);
  return result;
}
