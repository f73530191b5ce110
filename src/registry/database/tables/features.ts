export interface FeatureTables {
  feature_documents: { kind: string; name: string; body: string; changed_at: number };
  /** Times in milliseconds since 1970. */
  feature_materializations: { feature_view: string; tenant: string; until: number; changed_at: number };
  feature_transforms: {
    name: string;
    version: number;
    kind: string;
    /** JSON */
    state: string;
    digest: string;
    actor: string;
    created_at: number;
  };
}
