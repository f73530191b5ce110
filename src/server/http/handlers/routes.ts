import { SwitchyardError } from '../../../shared/errors.ts';

export type RouteKind =
  | 'v1-live'
  | 'server-metadata'
  | 'live'
  | 'ready'
  | 'model-list'
  | 'statistics'
  | 'model-metadata'
  | 'model-ready'
  | 'model-config'
  | 'infer'
  | 'generate'
  | 'generate-stream'
  | 'repository-index'
  | 'repository-load'
  | 'repository-unload'
  | 'logging'
  | 'trace'
  | 'shared-memory-status'
  | 'shared-memory-register'
  | 'shared-memory-unregister'
  | 'tfs-status'
  | 'tfs-metadata'
  | 'tfs-predict'
  | 'tfs-classify'
  | 'tfs-regress'
  | 'feedback'
  | 'feast-online'
  | 'feast-push'
  | 'feast-write'
  | 'feast-materialize'
  | 'feast-materialize-incremental'
  | 'feast-health';

/** What a path asks for. Immutable and shared between requests. */
export interface Route {
  kind: RouteKind;
  /** Allow header of a 405. HEAD is allowed wherever GET is. */
  methods: 'GET' | 'POST' | 'GET, POST';
  /** '' where the path names none. */
  model: string;
  /** '' = by version policy. */
  version: string;
  /** TF Serving's version label, '' = none. */
  label: string;
}

const NAME = /^[A-Za-z0-9][\w.-]{0,127}$/;
const VERSION = /^\d{1,18}$/;

/**
 * Parses the raw path of a request. Names are percent-decoded once, here, and checked.
 * Throws not_found for paths that mean nothing and invalid_argument for names that are not allowed.
 */
export function parseRoute(path: string): Route {
  if (path === '/') return route('v1-live', 'GET');
  const end = path.length > 1 && path.endsWith('/') ? path.length - 1 : path.length;
  const parts = path.slice(1, end).split('/');
  const found = parseParts(parts);
  if (found === undefined) throw new SwitchyardError('not_found', `no such path: ${shown(path)}`);
  return found;
}

function parseParts(parts: string[]): Route | undefined {
  switch (parts[0]) {
    case 'v2':
      return parseV2(parts);
    case 'v1':
      return parseTfServing(parts);
    case 'switchyard':
      return parts[1] === 'v1' && parts[2] === 'feedback' && parts.length === 3 ? route('feedback', 'POST') : undefined;
    default:
      return parts.length === 1 ? parseFeast(parts[0]) : undefined;
  }
}

/** The paths of Feast's feature server. */
function parseFeast(path: string): Route | undefined {
  switch (path) {
    case 'get-online-features':
      return route('feast-online', 'POST');
    case 'push':
      return route('feast-push', 'POST');
    case 'write-to-online-store':
      return route('feast-write', 'POST');
    case 'materialize':
      return route('feast-materialize', 'POST');
    case 'materialize-incremental':
      return route('feast-materialize-incremental', 'POST');
    case 'health':
      return route('feast-health', 'GET');
    default:
      return undefined;
  }
}

function route(kind: RouteKind, methods: Route['methods'], model = '', version = '', label = ''): Route {
  return { kind, methods, model, version, label };
}

function parseV2(parts: string[]): Route | undefined {
  switch (parts[1]) {
    case undefined:
      return route('server-metadata', 'GET');
    case 'health':
      if (parts.length !== 3) return undefined;
      if (parts[2] === 'live') return route('live', 'GET');
      return parts[2] === 'ready' ? route('ready', 'GET') : undefined;
    case 'models':
      return parseV2Model(parts);
    case 'repository':
      return parseRepository(parts);
    case 'logging':
      return parts.length === 2 ? route('logging', 'GET, POST') : undefined;
    case 'trace':
      return parts.length === 3 && parts[2] === 'setting' ? route('trace', 'GET, POST') : undefined;
    case 'systemsharedmemory':
    case 'cudasharedmemory':
      return parseSharedMemory(parts);
    default:
      return undefined;
  }
}

function parseV2Model(parts: string[]): Route | undefined {
  if (parts.length === 2) return route('model-list', 'GET');
  if (parts.length === 3 && parts[2] === 'stats') return route('statistics', 'GET');
  const model = decodeName(parts[2], 'model name');
  let next = 3;
  let version = '';
  if (parts[3] === 'versions') {
    if (parts.length < 5) return undefined;
    version = decodeVersion(parts[4]);
    next = 5;
  }
  const rest = parts.length - next;
  if (rest === 0) return route('model-metadata', 'GET', model, version);
  if (rest === 2 && parts[next] === 'trace' && parts[next + 1] === 'setting') {
    return version === '' ? route('trace', 'GET, POST', model) : undefined;
  }
  if (rest !== 1) return undefined;
  switch (parts[next]) {
    case 'infer':
      return route('infer', 'POST', model, version);
    case 'ready':
      return route('model-ready', 'GET', model, version);
    case 'config':
      return route('model-config', 'GET', model, version);
    case 'stats':
      return route('statistics', 'GET', model, version);
    case 'generate':
      return route('generate', 'POST', model, version);
    case 'generate_stream':
      return route('generate-stream', 'POST', model, version);
    default:
      return undefined;
  }
}

function parseRepository(parts: string[]): Route | undefined {
  if (parts.length === 3 && parts[2] === 'index') return route('repository-index', 'POST');
  if (parts.length !== 5 || parts[2] !== 'models') return undefined;
  if (parts[4] === 'load') return route('repository-load', 'POST', decodeName(parts[3], 'model name'));
  if (parts[4] === 'unload') return route('repository-unload', 'POST', decodeName(parts[3], 'model name'));
  return undefined;
}

function parseSharedMemory(parts: string[]): Route | undefined {
  const verb = parts.length === 3 ? parts[2] : parts.length === 5 && parts[2] === 'region' ? parts[4] : '';
  // The region is no name of ours: it is never looked up, only named in the answer.
  const region = parts.length === 5 ? decode(parts[3], 'shared memory region') : '';
  if (verb === 'status') return route('shared-memory-status', 'GET', region);
  if (verb === 'unregister') return route('shared-memory-unregister', 'POST', region);
  return verb === 'register' && region !== '' ? route('shared-memory-register', 'POST', region) : undefined;
}

/** `/v1/models/{m}[/versions/{n}|/labels/{l}][/metadata|:predict|:classify|:regress]`; the verb ends the last part. */
function parseTfServing(parts: string[]): Route | undefined {
  if (parts[1] !== 'models' || parts.length < 3) return undefined;
  const last = parts.length - 1;
  const colon = parts[last].indexOf(':');
  const verb = colon < 0 ? '' : parts[last].slice(colon + 1);
  if (colon >= 0) parts[last] = parts[last].slice(0, colon);
  const model = decodeName(parts[2], 'model name');
  let version = '';
  let label = '';
  let next = 3;
  if (parts[3] === 'versions' && parts.length > 4) {
    version = decodeVersion(parts[4]);
    next = 5;
  } else if (parts[3] === 'labels' && parts.length > 4) {
    label = decodeName(parts[4], 'version label');
    next = 5;
  }
  if (parts.length === next + 1 && parts[next] === 'metadata' && colon < 0) {
    return route('tfs-metadata', 'GET', model, version, label);
  }
  if (parts.length !== next) return undefined;
  switch (verb) {
    case '':
      return colon < 0 ? route('tfs-status', 'GET', model, version, label) : undefined;
    case 'predict':
      return route('tfs-predict', 'POST', model, version, label);
    case 'classify':
      return route('tfs-classify', 'POST', model, version, label);
    case 'regress':
      return route('tfs-regress', 'POST', model, version, label);
    default:
      return undefined;
  }
}

function decode(part: string, what: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new SwitchyardError('invalid_argument', `${what} ${shown(part)} is not valid percent-encoded UTF-8`);
  }
}

function decodeName(part: string, what: string): string {
  const name = decode(part, what);
  if (!NAME.test(name)) {
    throw new SwitchyardError(
      'invalid_argument',
      `${what} ${shown(name)} is not allowed: it starts with a letter or digit, followed by at most 127 letters, digits, "_", "." or "-"`,
    );
  }
  return name;
}

function decodeVersion(part: string): string {
  const version = decode(part, 'model version');
  if (!VERSION.test(version)) {
    throw new SwitchyardError('invalid_argument', `model version ${shown(version)} is not a whole number`);
  }
  return version;
}

/** A client's own text inside a message: quoted, escaped and cut. */
export function shown(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

/** Entries of one generation of the cache. */
const GENERATION = 1024;

/**
 * Remembers the last paths of inference requests, so that the hot path costs one lookup. Two generations bound it
 * without bookkeeping per hit: when the young one is full, it becomes the old one and the old one is forgotten.
 */
export class RouteCache {
  private young = new Map<string, Route>();
  private old = new Map<string, Route>();

  /** Throws as parseRoute does. */
  get(path: string): Route {
    const hit = this.young.get(path);
    if (hit !== undefined) return hit;
    const found = this.old.get(path) ?? parseRoute(path);
    // Long paths are no model's everyday address; they would only make the cache heavy.
    if (path.length > 512) return found;
    if (this.young.size >= GENERATION) {
      this.old = this.young;
      this.young = new Map();
    }
    this.young.set(path, found);
    return found;
  }
}
