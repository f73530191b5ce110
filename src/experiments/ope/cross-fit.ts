import { learn, type OnlineLinearArm, onlineLinearArm } from '../../routing/policies/linear-arm.ts';

export interface Observation {
  action: number;
  reward: number;
  context: ArrayLike<number>;
}

/**
 * A reward model for doubly robust estimates: ridge regression per arm, fitted on all folds but the one that a
 * decision is in, so that no decision is predicted by a model that has seen its reward.
 */
export function crossFit(
  log: readonly Observation[],
  arms: number,
  folds = 5,
  regularisation = 1,
): (i: number) => Float64Array {
  const dim = log[0]?.context.length ?? 0;
  const scratch = new Float64Array(dim);
  const models = Array.from({ length: folds }, (_, fold) => {
    const fitted: OnlineLinearArm[] = Array.from({ length: arms }, () => onlineLinearArm(dim, regularisation));
    log.forEach(({ action, reward, context }, i) => {
      if (i % folds !== fold) learn(fitted[action], context, reward, scratch);
    });
    return fitted;
  });
  return (i) => {
    const { context } = log[i];
    return Float64Array.from(models[i % folds], ({ theta }) => {
      let score = 0;
      for (let j = 0; j < dim; j++) score += theta[j] * context[j];
      return score;
    });
  };
}
