/**
 * A value that Avro gave, as JSON would have it: times and days as ISO 8601, longs beyond 2^53 as their digits, bytes as the
 * text that they are, or as base64. Branches of a union that carry their type's name are what they hold.
 */
export function jsonOf(value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString();
  if (value instanceof Uint8Array) return textOf(value);
  if (Array.isArray(value)) return value.map(jsonOf);
  const { unwrap } = value as { unwrap?: unknown };
  if (typeof unwrap === 'function') return jsonOf(Object.values(value)[0]);
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, jsonOf(item)]));
}

function textOf(bytes: Uint8Array): string {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const text = buffer.toString('utf8');
  return Buffer.from(text, 'utf8').equals(buffer) ? text : buffer.toString('base64');
}
