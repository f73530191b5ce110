import type { RestRoute } from './route.ts';

export type RestMatch =
  | { kind: 'route'; route: RestRoute; params: Record<string, string> }
  | { kind: 'method'; allowed: string[] }
  | { kind: 'none' };

const NO_PARAMS: Record<string, string> = Object.freeze(Object.create(null));

/** Routes without parameters are found by one look-up, the others by trying their patterns. */
export class RestRouter {
  private readonly exact = new Map<string, Map<string, RestRoute>>();
  private readonly patterns: { parts: string[]; route: RestRoute }[] = [];

  constructor(routes: readonly RestRoute[]) {
    for (const route of routes) {
      if (route.path.includes('{')) {
        this.patterns.push({ parts: route.path.split('/'), route });
        continue;
      }
      const methods = this.exact.get(route.path) ?? new Map<string, RestRoute>();
      if (methods.has(route.method)) throw new Error(`two routes for ${route.method} ${route.path}`);
      methods.set(route.method, route);
      this.exact.set(route.path, methods);
    }
  }

  /** @param path as sent, percent-encoded. One that does not decode matches nothing. */
  match(method: string, path: string): RestMatch {
    const asked = method === 'HEAD' ? 'GET' : method;
    const exact = this.exact.get(path);
    if (exact !== undefined) {
      const route = exact.get(asked);
      if (route !== undefined) return { kind: 'route', route, params: NO_PARAMS };
    }
    const allowed = [...(exact?.keys() ?? [])];
    const segments = path.split('/');
    for (const { parts, route } of this.patterns) {
      const params = matchParts(parts, segments);
      if (params === undefined) continue;
      if (route.method === asked) return { kind: 'route', route, params };
      allowed.push(route.method);
    }
    return allowed.length === 0 ? { kind: 'none' } : { kind: 'method', allowed };
  }
}

function matchParts(parts: readonly string[], segments: readonly string[]): Record<string, string> | undefined {
  const last = parts[parts.length - 1];
  const open = last.endsWith('*}');
  if (open ? segments.length < parts.length : segments.length !== parts.length) return undefined;
  const params: Record<string, string> = Object.create(null);
  for (let i = 0; i < parts.length; i++) {
    const part = parts[i];
    if (!part.startsWith('{')) {
      if (part !== segments[i]) return undefined;
      continue;
    }
    const rest = part.endsWith('*}');
    const value = decode(rest ? segments.slice(i).join('/') : segments[i]);
    if (value === undefined || value === '') return undefined;
    params[rest ? part.slice(1, -2) : part.slice(1, -1)] = value;
  }
  return params;
}

function decode(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
