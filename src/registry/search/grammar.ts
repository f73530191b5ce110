export type Operator =
  | '='
  | '!='
  | '>'
  | '>='
  | '<'
  | '<='
  | 'LIKE'
  | 'ILIKE'
  | 'IN'
  | 'NOT IN'
  | 'IS NULL'
  | 'IS NOT NULL';

export const NUMBER_OPERATORS: readonly Operator[] = ['>', '>=', '!=', '=', '<', '<='];
export const TEXT_OPERATORS: readonly Operator[] = ['!=', '=', 'LIKE', 'ILIKE', 'IN', 'NOT IN'];
export const KEYED_OPERATORS: readonly Operator[] = ['!=', '=', 'LIKE', 'ILIKE', 'IS NULL', 'IS NOT NULL'];

/** What stands before the dot: `metrics` in `metrics.loss`. */
export interface EntityRule {
  type: 'number' | 'text';
  operators: readonly Operator[];
  /** The only names allowed behind the dot; absent: any. */
  keys?: readonly string[];
}

export interface AttributeRule {
  type: 'number' | 'text';
  operators: readonly Operator[];
}

/** What one kind of search lets a filter say. */
export interface SearchGrammar {
  /** By name; "attribute" is implied and takes `attributes`. */
  entities: Readonly<Record<string, EntityRule>>;
  attributes: Readonly<Record<string, AttributeRule>>;
  /** Other names of entities and attributes. */
  entityAliases?: Readonly<Record<string, string>>;
  attributeAliases?: Readonly<Record<string, string>>;
  /** Attributes that order_by takes; default: all. */
  orderable?: readonly string[];
  /** Entities that order_by takes besides attributes; default: all. */
  orderableEntities?: readonly string[];
}

export interface Comparison {
  /** "attribute", or a name of the grammar's entities. */
  entity: string;
  key: string;
  operator: Operator;
  /** A list for IN and NOT IN; null for IS NULL and IS NOT NULL. */
  value: string | number | readonly string[] | null;
}

export interface OrderBy {
  entity: string;
  key: string;
  ascending: boolean;
}
