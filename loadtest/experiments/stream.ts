import { gaussian, mulberry32 } from './random.ts';

/** What a candidate does to requests, beside stable. */
export interface Effect {
  /** Added to the share of errors. */
  errors: number;
  /** All latencies times this. */
  latency: number;
}

export const SETTING = {
  looks: 120,
  /** Requests per look on each of control and candidate. */
  perLook: 200,
  errorRate: 0.01,
  medianMs: 20,
  /** Of ln latency. */
  sigma: 0.5,
};

/** ln-normal latencies: the true p99 of stable. */
export const STABLE_P99 = SETTING.medianMs * Math.exp(SETTING.sigma * 2.3263478740408408);

/** One side's requests between two looks. */
export interface Look {
  errors: number;
  latencies: Float64Array;
}

export interface Pair {
  control: Look;
  candidate: Look;
}

/** The same requests for every judge: they depend on the seed and the effect alone. */
export function* rollout(seed: number, effect: Effect): Generator<Pair> {
  const random = mulberry32(seed);
  const normal = gaussian(random);
  const side = (errorRate: number, scale: number): Look => {
    let errors = 0;
    const latencies = new Float64Array(SETTING.perLook);
    for (let i = 0; i < latencies.length; i++) {
      if (random() < errorRate) errors++;
      latencies[i] = scale * SETTING.medianMs * Math.exp(SETTING.sigma * normal());
    }
    return { errors, latencies };
  };
  for (let i = 0; i < SETTING.looks; i++) {
    const control = side(SETTING.errorRate, 1);
    yield { control, candidate: side(SETTING.errorRate + effect.errors, effect.latency) };
  }
}

export function p99({ latencies }: Look): number {
  const sorted = latencies.slice().sort();
  return sorted[Math.ceil(0.99 * sorted.length) - 1];
}
