import type { CommitContext } from '../commit.ts';
import type { RestRoute } from '../rest/route.ts';
import { experimentSearchRoute } from './experiment-search.ts';
import { experimentRoutes } from './experiments.ts';
import { inputRoutes } from './inputs.ts';
import { logRoutes } from './log.ts';
import { loggedModelRoutes } from './logged-models.ts';
import { MetricBacklog } from './metric-backlog.ts';
import { metricHistoryRoutes } from './metric-history.ts';
import { runSearchRoute } from './run-search.ts';
import { runRoutes } from './runs.ts';

/** What the tracking half works with. */
export interface TrackingContext extends CommitContext {
  backlog: MetricBacklog;
}

export interface Tracking {
  routes: readonly RestRoute[];
  close(): Promise<void>;
}

export function createTracking(commits: CommitContext, onError: (error: unknown) => void): Tracking {
  const backlog = new MetricBacklog(commits.database, onError);
  const context: TrackingContext = { ...commits, backlog };
  return {
    close: () => backlog.close(),
    routes: [
      ...experimentRoutes(context),
      experimentSearchRoute(context),
      ...runRoutes(context),
      ...logRoutes(context),
      ...inputRoutes(context),
      runSearchRoute(context),
      ...metricHistoryRoutes(context),
      ...loggedModelRoutes(context),
    ],
  };
}
