import type { ServingTable } from './types.ts';

/** Known, but loaded only when a request for it comes. */
export function isDormant(table: ServingTable, model: string): boolean {
  const known = table.models.get(model);
  return known?.onDemand === true && known.versions.length === 0;
}

/** What answers questions about a model: its table, and who loads what is not in it. */
export interface DemandSource {
  table(): ServingTable;
  control: { demand(model: string): Promise<void> };
}

/**
 * Answers a question about a version, such as for its metadata, that can only be answered once it is loaded: clients ask
 * it before their first inference. Rejects with the load's error; throws what `answer` throws.
 */
export function loadedFirst<T>(source: DemandSource, model: string, version: string, answer: () => T): T | Promise<T> {
  const table = source.table();
  const known = table.models.get(model);
  const unheardOf = version !== '' && known?.index.every((status) => status.version !== version);
  if (known === undefined || unheardOf || !isDormant(table, model)) return answer();
  return source.control.demand(known.standsFor ?? model).then(answer);
}
