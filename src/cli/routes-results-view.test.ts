import assert from 'node:assert/strict';
import { test } from 'node:test';
import { renderBandit, renderExperiment } from './routes-results-view.ts';

test("an experiment's results are tables, with what is not known as a dash", () => {
  const effect = {
    arm: 'next',
    metric: 'reward',
    test: 'asymptoticCS',
    samples: 2000,
    control: 0.3,
    value: 0.31234567,
  };
  const shown = renderExperiment({
    verdict: 'guardrail violated',
    control: 'stable',
    arms: [
      { name: 'stable', counted: 500, requests: 1000, errors: 1, rewards: 1000, reward_mean: 0.3 },
      { name: 'next', counted: 510, requests: 1000, errors: 90, rewards: 0, reward_mean: null },
    ],
    primary: [{ ...effect, effect: 0.0123, interval: [null, 0.05], verdict: 'undecided', samples_needed: 1234 }],
    guardrails: [
      { ...effect, metric: 'errors', effect: 0.089, interval: [0.05, 0.12], verdict: 'violated', margin: 0.02 },
    ],
    sample_ratio: { counts: [500, 510], p_value: 1, alpha: 0.001, counted: 'units', sampled: 4 },
  });
  assert.match(shown, /^experiment against stable: guardrail violated\n/);
  assert.match(shown, /^ARM +UNITS, ONE IN 4 +REQUESTS +ERRORS +REWARDS +MEAN$/m);
  assert.match(shown, /^next +510 +1000 +90 +0 +–$/m);
  assert.match(
    shown,
    /^next +reward +undecided +0\.3 +0\.3123 +0\.0123 +– … 0\.05 +asymptoticCS +about 1234 more samples$/m,
  );
  assert.match(shown, /^next +errors +violated .* margin 0\.02$/m);
  assert.doesNotMatch(shown, /[{}]/);
});

test("a bandit's arms are a table", () => {
  const shown = renderBandit({
    policy: 'linUCB',
    mode: 'online',
    snapshot: 7,
    arms: [{ name: 'a', probability: null, rewards: 12, mean: 0.25, version: '3' }],
    feedback: { accepted: 3, matured: 12 },
  });
  assert.match(shown, /^linUCB, online, snapshot 7\n/);
  assert.match(shown, /^a +3 +– +12 +0\.25$/m);
  assert.match(shown, /3 accepted, 12 matured$/);
});
