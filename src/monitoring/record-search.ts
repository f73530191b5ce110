/** What a monitor and a person need of a request's record. */
export interface RequestFacts {
  id: string;
  /** Milliseconds since 1970. */
  time: number;
  model: string;
  version: string;
  digest: string;
  route: string;
  variant: string;
  shadow: boolean;
  status: string;
  tenant: string;
  entity: string;
}

/** Between which times a record may lie; milliseconds since 1970. */
export interface TimeRange {
  from: number;
  to: number;
}

export const ANY_TIME: Readonly<TimeRange> = { from: 0, to: Number.MAX_SAFE_INTEGER };

export interface RecordSearch {
  found: RequestFacts | undefined;
  /** The whole record, as JSON. */
  json: string;
  /** Where it is: 'spool', the file, or the topic. */
  place: string;
  /** Where it was looked for. */
  searched: string[];
  /** Time of the oldest record that is kept; null = none, or not known. */
  oldest: number | null;
  /** Places that could not be read, or not to their end. */
  problems: string[];
}

/** Finds the record of a request where records are kept. Never on a request's way. */
export interface RecordSource {
  find(id: string, range: TimeRange): Promise<RecordSearch>;
}
