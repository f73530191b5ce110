/** Whose token came with a call to the registry: a gateway's. */
export interface GatewayClaims {
  /** The id that it reports under; one that ends with "*" stands for all that begin so. */
  gatewayId: string;
  /** Its rollouts may move aliases. */
  moveAliases: boolean;
}
