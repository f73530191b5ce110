/** A parsed W3C traceparent. */
export interface TraceParent {
  /** 32 lowercase hex digits, not all zero. */
  traceId: string;
  /** 16 lowercase hex digits, not all zero. */
  spanId: string;
  sampled: boolean;
}

const FORM = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const MAX_LENGTH = 256;

/** Undefined for anything the specification says to ignore. Later versions are read as far as version 00 goes. */
export function parseTraceparent(header: string): TraceParent | undefined {
  if (header.length < 55 || header.length > MAX_LENGTH) return undefined;
  const match = FORM.exec(header);
  if (match === null) return undefined;
  const [, version, traceId, spanId, flags, rest] = match;
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

export function formatTraceparent({ traceId, spanId, sampled }: TraceParent): string {
  return `00-${traceId}-${spanId}-${sampled ? '01' : '00'}`;
}

/** The sampled flag alone, without parsing: 1 sampled, 0 not, -1 no parent or not one of the right length. */
export function sampledFlag(header: string): 1 | 0 | -1 {
  if (header.length < 55) return -1;
  const digit = header.charCodeAt(54);
  const value = digit <= 57 ? digit - 48 : (digit | 32) - 87;
  return value >= 0 && value < 16 ? ((value & 1) as 0 | 1) : -1;
}
