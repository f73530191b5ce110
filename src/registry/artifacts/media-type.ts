const OCTETS = 'application/octet-stream';

/** By the last extension, or the whole name where it has none. Text that people look at is shown as text. */
const TYPES: Readonly<Record<string, readonly string[]>> = {
  'text/plain': 'MLmodel MLproject txt log py js ts md rst sh r ini cfg conf toml yaml yml lock'.split(' '),
  'application/json': ['json', 'ipynb', 'geojson'],
  'text/html': ['html', 'htm'],
  'text/csv': ['csv'],
  'text/tab-separated-values': ['tsv'],
  'image/png': ['png'],
  'image/jpeg': ['jpg', 'jpeg'],
  'image/gif': ['gif'],
  'image/webp': ['webp'],
  'image/svg+xml': ['svg'],
  'application/pdf': ['pdf'],
  'application/zip': ['zip'],
  'application/gzip': ['gz'],
  'application/x-tar': ['tar'],
};

const BY_EXTENSION = new Map(
  Object.entries(TYPES).flatMap(([type, names]) => names.map((name) => [name, type] as const)),
);

/** The media type that an upload's header declares, if it is one, else a guess by the file's name. */
export function mediaTypeOf(path: string, declared = ''): string {
  const type = declared.trim().toLowerCase();
  if (type.length <= 127 && /^[a-z0-9][a-z0-9!#$&^_.+-]*\/[a-z0-9][a-z0-9!#$&^_.+-]*(; ?charset=[\w-]+)?$/.test(type))
    return type;
  const name = path.slice(path.lastIndexOf('/') + 1);
  const extension = name.slice(name.lastIndexOf('.') + 1);
  return BY_EXTENSION.get(extension) ?? BY_EXTENSION.get(extension.toLowerCase()) ?? OCTETS;
}

/** `attachment` with the file's name, so that a browser saves what it is given and never runs it (RFC 6266). */
export function attachmentHeader(path: string): string {
  const name = path.slice(path.lastIndexOf('/') + 1);
  const ascii = name.replace(/[^\x20-\x7e]|["\\%]/g, '_');
  if (ascii === name) return `attachment; filename="${name}"`;
  const encoded = encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}
