/** How many records or events, by view and by what became of them. */
export type ViewCounts = Map<string, Map<string, number>>;

export function addCount(of: ViewCounts, view: string, result: string, count: number): void {
  const counts = of.get(view) ?? new Map<string, number>();
  of.set(view, counts);
  if (count > 0) counts.set(result, (counts.get(result) ?? 0) + count);
}
