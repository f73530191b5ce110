import fc from 'fast-check';
import type { Metric } from '../registry/tracking/metrics.ts';

/** Metric points of few moments and of these names, so that points meet; any double, so that none is changed on its way. */
export function metricPoints(...keys: string[]): fc.Arbitrary<Metric> {
  return fc
    .record({
      key: fc.constantFrom(...keys),
      value: fc.double({ noNaN: true, noDefaultInfinity: true }),
      isNan: fc.constantFrom<0 | 1>(0, 0, 0, 1),
      timestamp: fc.constantFrom(1_700_000_000_000, 1_700_000_000_001),
      step: fc.constantFrom(-1, 0, 1),
    })
    .map((metric) => ({ ...metric, value: metric.isNan === 1 ? 0 : metric.value + 0 }));
}
