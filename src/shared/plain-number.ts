/** For JSON.stringify: 64-bit integers outside the safe range are written as strings. */
export function plainNumber(_key: string, value: unknown): unknown {
  if (typeof value !== 'bigint') return value;
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : String(value);
}
