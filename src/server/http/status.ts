/** Status lines by code, for the codes this server answers. */
const REASONS: Readonly<Record<number, string>> = {
  200: 'OK',
  400: 'Bad Request',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  405: 'Method Not Allowed',
  408: 'Request Timeout',
  409: 'Conflict',
  411: 'Length Required',
  413: 'Payload Too Large',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  499: 'Client Closed Request',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  507: 'Insufficient Storage',
};

export function statusLine(status: number): string {
  return `${status} ${REASONS[status] ?? 'Status'}`;
}

export const JSON_HEADERS = 'Content-Type: application/json';

/** Headers of an answer that the socket gives by itself, before any handler. */
export function refusalHeaders(status: number): string {
  return status === 429 ? `${JSON_HEADERS}\r\nRetry-After: 1` : JSON_HEADERS;
}

export function errorBody(message: string): string {
  return `{"error":${JSON.stringify(message)}}`;
}

/** Status line and preformatted header lines, '' = none. */
export function headText(status: number, headers: string): string {
  return headers === '' ? statusLine(status) : `${statusLine(status)}\r\n${headers}`;
}
