import { SwitchyardError } from '../../shared/errors.ts';
import type { AdminRoute } from '../route.ts';
import type { AdminServices } from '../services.ts';

const COUNT = { type: 'integer', minimum: 0 };
const FREE = { type: 'object', additionalProperties: true };
const MAX_TAIL = 10_000;

export function logOf({ eventLog }: AdminServices): NonNullable<AdminServices['eventLog']> {
  if (eventLog !== undefined) return eventLog;
  throw new SwitchyardError('failed_precondition', 'nothing is logged; set eventLog.enabled: true and restart');
}

function number(query: URLSearchParams, name: string, fallback: number): number {
  const text = query.get(name);
  return text === null ? fallback : Number(text);
}

/** The event log: how it stands, what it holds. */
export const logRoutes: readonly AdminRoute[] = [
  {
    method: 'GET',
    path: '/api/v1/log',
    role: 'operator',
    operationId: 'getLog',
    summary: 'Figures of the event log, its spool and its sinks',
    response: {
      type: 'object',
      properties: { served: COUNT, spooled: COUNT, spool: FREE, sinks: { type: 'array', items: FREE } },
    },
    errors: ['failed_precondition', 'unavailable'],
    handle: async ({ services }) => ({ body: await logOf(services).status() }),
  },
  {
    method: 'GET',
    path: '/api/v1/log/records',
    role: 'operator',
    operationId: 'listLogRecords',
    summary: 'Records of the spool: the last ones, or those from a number on',
    query: {
      limit: { type: 'integer', minimum: 1, maximum: MAX_TAIL, default: 10 },
      from: { ...COUNT, description: 'Number of the first record; `next` of the answer before' },
    },
    response: {
      type: 'object',
      required: ['records', 'next'],
      properties: { records: { type: 'array', items: FREE }, next: COUNT },
    },
    errors: ['failed_precondition', 'unavailable'],
    handle: async ({ services, query }) => {
      const { records, next } = await logOf(services).tail(number(query, 'limit', 10), number(query, 'from', -1));
      // The records are JSON already, with 64-bit integers that no number holds.
      return { body: `{"records":[${records.join(',')}],"next":${next}}` };
    },
  },
  {
    method: 'GET',
    path: '/api/v1/log/payloads/{sha256}',
    role: 'operator',
    operationId: 'getLogPayload',
    summary:
      'The whole record, redacted, of a request whose values were kept by reference, on this server or in the bucket',
    response: FREE,
    errors: ['invalid_argument', 'not_found', 'failed_precondition', 'unavailable'],
    // JSON already, with 64-bit integers that no number holds.
    handle: async ({ services, params }) => ({ body: await logOf(services).payload(params.sha256) }),
  },
  {
    method: 'POST',
    path: '/api/v1/log/verify',
    role: 'operator',
    operationId: 'verifyLog',
    summary: 'Reads the whole spool and checks every record',
    response: {
      type: 'object',
      properties: { segments: COUNT, records: COUNT, bytes: COUNT, damaged: { type: 'array', items: FREE } },
    },
    errors: ['failed_precondition', 'unavailable'],
    handle: async ({ services }) => ({ body: await logOf(services).verify() }),
  },
];
