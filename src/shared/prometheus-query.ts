const TIMEOUT_MS = 5000;
const MAX_BYTES = 1_000_000;

interface Answer {
  status?: string;
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
    const text = await response.text();
    if (!response.ok || text.length > MAX_BYTES) {
      onError(`${address} answered ${response.status}: ${text.slice(0, 200)}`);
      return undefined;
    }
    const answer = JSON.parse(text) as Answer;
    if (answer.status === 'success') return numbers(answer.data);
    onError(`${address} answered ${text.slice(0, 200)}`);
  } catch (error) {
    onError(`${address} cannot be asked: ${(error as Error).message}`);
  }
  return undefined;
}

/** `[time, "value"]` of a scalar; of a vector one per series. */
function numbers(data: Answer['data']): number[] {
  const { resultType, result } = data ?? {};
  if (!Array.isArray(result)) return [];
  if (resultType === 'scalar') return [Number(result[1])];
  if (resultType !== 'vector') return [];
  return result.map((series: { value?: [number, string] }) => Number(series.value?.[1]));
}
