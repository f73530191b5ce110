/** Where routes made over the API and the standing of all routes outlive the process. Wired to the registry's database. */
export interface RouteStore {
  load(): Promise<StoredRoutes>;
  /** All of it in one write. `body: undefined` removes. */
  putDocuments(documents: readonly { kind: string; name: string; body: string | undefined }[]): Promise<void>;
  /** Standing by route, as JSON. `undefined` removes. */
  putStandings(standings: ReadonlyMap<string, string | undefined>): Promise<void>;
}

export interface StoredRoutes {
  documents: { kind: string; name: string; body: string }[];
  standings: Map<string, string>;
}
