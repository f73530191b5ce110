import type { AdminRoute } from './route.ts';

export type Match =
  | { kind: 'route'; route: AdminRoute; params: Record<string, string> }
  | { kind: 'method'; allowed: string[] }
  | { kind: 'none' };

/**
 * Finds the route of a request. `path` is as sent, percent-encoded; a parameter takes exactly one non-empty segment.
 * A path that does not decode matches nothing. HEAD is answered by the GET route.
 */
export function matchRoute(routes: readonly AdminRoute[], method: string, path: string): Match {
  const segments = decodeSegments(path);
  if (segments === undefined) return { kind: 'none' };
  const asked = method === 'HEAD' ? 'GET' : method;
  const allowed: string[] = [];
  for (const route of routes) {
    const params = matchPath(route.path, segments);
    if (params === undefined) continue;
    if (route.method === asked) return { kind: 'route', route, params };
    allowed.push(route.method);
  }
  return allowed.length === 0 ? { kind: 'none' } : { kind: 'method', allowed };
}

function decodeSegments(path: string): string[] | undefined {
  try {
    return path.split('/').map(decodeURIComponent);
  } catch {
    return undefined;
  }
}

function matchPath(template: string, segments: readonly string[]): Record<string, string> | undefined {
  const parts = template.split('/');
  if (parts.length !== segments.length) return undefined;
  const params: Record<string, string> = Object.create(null);
  for (const [i, part] of parts.entries()) {
    if (part.startsWith('{')) {
      if (segments[i] === '') return undefined;
      params[part.slice(1, -1)] = segments[i];
    } else if (part !== segments[i]) return undefined;
  }
  return params;
}
