/** See migrations/0005-routes.ts. */
export interface RouteTables {
  route_documents: { kind: string; name: string; body: string; changed_at: number };
  route_standings: { route: string; standing: string; changed_at: number };
}
