import type { FeatureAttribution } from './attribution.ts';
import type { Metrics } from './metrics.ts';

export interface SliceResult {
  name: string;
  samples: number;
  metrics: Metrics;
}

/** What an evaluation found out. Stored as JSON, shown by the API, read by gates. */
export interface EvaluationResult {
  task: 'classification' | 'regression';
  samples: number;
  metrics: Metrics;
  slices: SliceResult[];
  /** Classifiers: their classes, and counts[truth][predicted]. */
  classes?: (string | number | boolean)[];
  confusion?: number[][];
  attribution?: {
    method: 'permutation' | 'shapley';
    /** permutation: the metric that falls. */
    metric?: string;
    features: FeatureAttribution[];
  };
}
