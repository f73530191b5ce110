const TIMEOUT_MS = 5000;
const MAX_BYTES = 1_000_000;

interface Answer {
  status?: string;
  errorType?: unknown;
  error?: unknown;
  data?: { resultType?: string; result?: unknown };
}

/** The numbers a query gives now: a scalar's one, or one per series. Undefined: it failed. Never rejects. */
export async function queryPrometheus(
  { address, query }: { address: string; query: string },
  onError: (message: string) => void,
): Promise<number[] | undefined> {
  try {
    const url = new URL('api/v1/query', address.endsWith('/') ? address : `${address}/`);
    const response = await fetch(url, {
      method: 'POST',
      body: new URLSearchParams({ query }),
      signal: AbortSignal.timeout(TIMEOUT_MS),
      redirect: 'error',
    });
    const answer = parsed(await boundedText(response));
    if (response.ok && answer?.status === 'success') return numbers(answer.data);
    onError(`${address} answered ${response.status}: ${errorOf(answer)}`);
  } catch (error) {
    onError(`${address} cannot be asked: ${(error as Error).message}`);
  }
  return undefined;
}

/** Throws once there is more than an answer may have; the rest is not read. */
async function boundedText(response: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES)
      throw new Error(`its answer has more than ${MAX_BYTES} bytes; ask for fewer series, such as by sum()`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** Undefined: no JSON object. */
function parsed(text: string): Answer | undefined {
  try {
    const value = JSON.parse(text) as Answer | null;
    return typeof value === 'object' && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Prometheus's own words. Anything else is not repeated: the address may lead to something that is nobody's business. */
function errorOf(answer: Answer | undefined): string {
  const { status, errorType, error } = answer ?? {};
  if (status !== 'error' || typeof errorType !== 'string' || typeof error !== 'string')
    return "not in the form of Prometheus's HTTP API; correct the address";
  return `${errorType}: ${error}`.slice(0, 200);
}

/** `[time, "value"]` of a scalar; of a vector one per series. */
function numbers(data: Answer['data']): number[] {
  const { resultType, result } = data ?? {};
  if (!Array.isArray(result)) return [];
  if (resultType === 'scalar') return [Number(result[1])];
  if (resultType !== 'vector') return [];
  return result.map((series: { value?: [number, string] }) => Number(series.value?.[1]));
}
