import type { AdminRoute } from './route.ts';
import { configRoutes } from './routes/config.ts';
import { documentRoutes } from './routes/documents.ts';
import { evaluationRoutes } from './routes/evaluations.ts';
import { featureDocumentRoutes } from './routes/feature-documents.ts';
import { featureRoutes } from './routes/features.ts';
import { healthRoutes } from './routes/health.ts';
import { jobRoutes } from './routes/jobs.ts';
import { lineageRoutes } from './routes/lineage.ts';
import { logRoutes } from './routes/log.ts';
import { logReplayRoutes } from './routes/log-replays.ts';
import { modelRoutes } from './routes/models.ts';
import { monitorRoutes } from './routes/monitors.ts';
import { pipelineRunRoutes } from './routes/pipeline-runs.ts';
import { pipelineRoutes } from './routes/pipelines.ts';
import { routeRoutes } from './routes/routes.ts';
import { settingsRoutes } from './routes/settings.ts';
import { sweepRoutes } from './routes/sweeps.ts';
import { threadRoutes } from './routes/threads.ts';
import { triggerRoutes } from './routes/triggers.ts';
import { usageRoutes } from './routes/usage.ts';

const described: readonly AdminRoute[] = [
  ...healthRoutes,
  ...modelRoutes,
  ...routeRoutes,
  ...jobRoutes,
  ...pipelineRoutes,
  ...pipelineRunRoutes,
  ...triggerRoutes,
  ...evaluationRoutes,
  ...monitorRoutes,
  ...lineageRoutes,
  ...configRoutes,
  ...usageRoutes,
  ...threadRoutes,
  ...settingsRoutes,
  ...logRoutes,
  ...logReplayRoutes,
  ...sweepRoutes,
  ...featureDocumentRoutes,
  ...featureRoutes,
];

/** Everything the admin port answers. What is not here is refused. */
export const ADMIN_ROUTES: readonly AdminRoute[] = [...described, ...documentRoutes(described)];
