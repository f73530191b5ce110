const SECRET_KEYS = new Set(['adminToken', 'sha256', 'password', 'secretAccessKey', 'passphrase', 'secret', 'token']);
export const REDACTED = '(redacted)';

/** A copy of a configuration value without its secrets: values of secret settings, and credentials inside URLs. */
export function redact(value: unknown, key = ''): unknown {
  if (SECRET_KEYS.has(key)) return value === undefined ? undefined : REDACTED;
  if (typeof value === 'string') return redactUrl(value);
  if (Array.isArray(value)) return value.map((item) => redact(item));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, redact(item, name)]));
}

function redactUrl(text: string): string {
  if (!text.includes('://') || !URL.canParse(text)) return text;
  const url = new URL(text);
  let changed = false;
  if (url.username !== '' || url.password !== '') {
    url.username = '';
    url.password = '';
    changed = true;
  }
  // Keys of collectors and the like travel in queries.
  if (url.search !== '') {
    url.search = '';
    changed = true;
  }
  return changed ? `${url.href} ${REDACTED}` : text;
}
