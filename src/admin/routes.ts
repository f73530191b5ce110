import type { AdminRoute } from './route.ts';
import { configRoutes } from './routes/config.ts';
import { documentRoutes } from './routes/documents.ts';
import { healthRoutes } from './routes/health.ts';
import { jobRoutes } from './routes/jobs.ts';
import { logRoutes } from './routes/log.ts';
import { modelRoutes } from './routes/models.ts';
import { routeRoutes } from './routes/routes.ts';
import { settingsRoutes } from './routes/settings.ts';
import { threadRoutes } from './routes/threads.ts';
import { usageRoutes } from './routes/usage.ts';

const described: readonly AdminRoute[] = [
  ...healthRoutes,
  ...modelRoutes,
  ...routeRoutes,
  ...jobRoutes,
  ...configRoutes,
  ...usageRoutes,
  ...threadRoutes,
  ...settingsRoutes,
  ...logRoutes,
];

/** Everything the admin port answers. What is not here is refused. */
export const ADMIN_ROUTES: readonly AdminRoute[] = [...described, ...documentRoutes(described)];
