/** See migrations/0002-artifacts.ts. Times are milliseconds since 1970. */
export interface ArtifactTables {
  blobs: {
    digest: string;
    size: number;
    /** When an upload last said that it needs the blob. Younger ones than the grace time are never collected. */
    claimed_time: number;
    /** Set: garbage collection is removing it, and nobody may refer to it until the row is gone. */
    deleting_time: number | null;
  };
  artifacts: {
    path: string;
    /** 'run', 'model', 'import' or 'other', and the id of the first three: what the artifact lives as long as. */
    root_kind: string;
    root_id: string;
    digest: string;
    size: number;
    media_type: string;
    created_time: number;
  };
  /** Uploads in several requests. Their bytes so far lie in the staging folder under the upload's id. */
  uploads: {
    upload_id: string;
    path: string;
    media_type: string;
    size: number;
    /** Digest that was promised; '' = none. */
    expected: string;
    /** Bytes that are certainly on the disk. */
    received: number;
    created_time: number;
    touched_time: number;
  };
}
