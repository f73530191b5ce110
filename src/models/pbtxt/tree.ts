/** Where a value stands in its source, counted from 1; 0/0 when the source has no lines (a request's JSON). */
export interface Position {
  line: number;
  column: number;
}

/** A scalar as written: `text` is the decoded content of a string, or the literal (sign included) otherwise. */
export interface TreeScalar extends Position {
  kind: 'scalar';
  form: 'string' | 'number' | 'word';
  text: string;
}

export interface TreeField extends Position {
  name: string;
  value: TreeValue;
}

/** Fields in source order; repeated names are repeated fields. */
export interface TreeMessage extends Position {
  kind: 'message';
  fields: TreeField[];
}

export interface TreeList extends Position {
  kind: 'list';
  items: TreeValue[];
}

/** What the text protobuf, YAML and JSON readers all produce: one shape, so one mapper checks all three. */
export type TreeValue = TreeScalar | TreeMessage | TreeList;

/** Deeper nesting than any model configuration has; bounds the recursion of readers and mapper. */
export const MAX_DEPTH = 64;
/** Bytes of a configuration file or inline configuration. */
export const MAX_CONFIG_BYTES = 1024 * 1024;
