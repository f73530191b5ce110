import { invalidParameter, type RegistryError, shown } from '../errors.ts';
import type { Comparison, Operator, OrderBy, SearchGrammar } from './grammar.ts';
import { type Token, tokenize } from './lexer.ts';

const MAX_COMPARISONS = 100;
const MAX_LIST = 10_000;
/** Of LIKE and ILIKE, in characters: SQLite takes 50,000 bytes, and some of these need three or four of them. */
const MAX_PATTERN = 10_000;
/** Each may be a join, of which SQLite allows 64. */
const MAX_ORDERS = 20;

/**
 * Parses a filter: comparisons joined by AND. Throws invalid_argument with the position of the mistake, counted from 1,
 * and what may stand there.
 */
export function parseFilter(source: string | null | undefined, grammar: SearchGrammar): Comparison[] {
  if (source === undefined || source === null || source.trim() === '') return [];
  return new Parser(tokenize(source), grammar).filter();
}

/** Parses order_by clauses: a name, then ASC (implied) or DESC. Throws invalid_argument. */
export function parseOrderBy(clauses: readonly string[], grammar: SearchGrammar): OrderBy[] {
  if (clauses.length > MAX_ORDERS)
    throw invalidParameter(`order_by has ${clauses.length} clauses; at most ${MAX_ORDERS} are allowed`);
  const orders = clauses.map((clause) => new Parser(tokenize(clause), grammar).orderBy());
  const seen = new Set<string>();
  for (const { entity, key } of orders) {
    const name = `${entity}.${key}`;
    if (seen.has(name)) throw invalidParameter(`order_by contains duplicate fields: ${name}`);
    seen.add(name);
  }
  return orders;
}

class Parser {
  private readonly tokens: readonly Token[];
  private readonly grammar: SearchGrammar;
  private next = 0;

  constructor(tokens: readonly Token[], grammar: SearchGrammar) {
    this.tokens = tokens;
    this.grammar = grammar;
  }

  filter(): Comparison[] {
    const comparisons = [this.comparison()];
    while (this.peek().kind !== 'end') {
      if (!this.takeWord('AND')) throw this.unexpected('AND, or the end');
      if (comparisons.length === MAX_COMPARISONS)
        throw invalidParameter(`Invalid filter: more than ${MAX_COMPARISONS} comparisons`);
      comparisons.push(this.comparison());
    }
    return comparisons;
  }

  orderBy(): OrderBy {
    const { entity, key } = this.identifier();
    const { orderable, orderableEntities } = this.grammar;
    const allowed =
      entity === 'attribute' ? (orderable?.includes(key) ?? true) : (orderableEntities?.includes(entity) ?? true);
    if (!allowed) {
      const names = orderable ?? Object.keys(this.grammar.attributes);
      throw invalidParameter(`Invalid order_by ${shown(`${entity}.${key}`)}; allowed are ${names.join(', ')}`);
    }
    const ascending = !this.takeWord('DESC');
    if (ascending) this.takeWord('ASC');
    if (this.peek().kind !== 'end') throw this.unexpected('ASC, DESC or the end', 'order_by');
    return { entity, key, ascending };
  }

  private comparison(): Comparison {
    const start = this.peek();
    if (start.kind === 'symbol' && start.text === '(') throw this.unexpected('a name; parentheses do not group here');
    const { entity, key, type, operators } = this.identifier();
    const at = this.peek();
    const operator = this.operator();
    if (!operators.includes(operator)) {
      throw invalidParameter(
        `Invalid filter: ${operator} at position ${at.at} does not apply to ${entity} ${shown(key)}; allowed are ${operators.join(', ')}`,
      );
    }
    return { entity, key, operator, value: this.value(operator, type) };
  }

  private identifier(): { entity: string; key: string; type: 'number' | 'text'; operators: readonly Operator[] } {
    const first = this.take();
    if (first.kind !== 'word' && first.kind !== 'name' && first.kind !== 'double')
      throw this.unexpected('a name such as metrics.loss', 'filter', first);
    const { entities, entityAliases, attributes, attributeAliases } = this.grammar;
    const dotted = this.peek().kind === 'symbol' && this.peek().text === '.';
    if (!dotted) return this.attribute(first.text, first);
    this.take();
    const second = this.take();
    if (second.kind !== 'word' && second.kind !== 'name' && second.kind !== 'double')
      throw this.unexpected('a name, in backticks if it has blanks or signs', 'filter', second);
    const alias = entityAliases?.[first.text] ?? first.text;
    if (alias === 'attribute' || alias === 'attributes' || alias === 'attr') return this.attribute(second.text, second);
    if (!Object.hasOwn(entities, alias)) {
      // Without entities in front, "a.b" can only be meant as an attribute.
      const names = [...Object.keys(entities), 'attributes'];
      throw invalidParameter(
        `Invalid filter: unknown entity ${shown(first.text)} at position ${first.at}; allowed are ${names.join(', ')}, or one of the attributes ${[...Object.keys(attributes), ...Object.keys(attributeAliases ?? {})].join(', ')}`,
      );
    }
    const rule = entities[alias];
    if (rule.keys !== undefined && !rule.keys.includes(second.text)) {
      throw invalidParameter(
        `Invalid filter: unknown name ${shown(second.text)} at position ${second.at}; ${alias} has ${rule.keys.join(', ')}`,
      );
    }
    return { entity: alias, key: second.text, ...rule };
  }

  private attribute(name: string, token: Token): ReturnType<Parser['identifier']> {
    const { attributes, attributeAliases } = this.grammar;
    const key = attributeAliases?.[name] ?? name;
    if (Object.hasOwn(attributes, key)) return { entity: 'attribute', key, ...attributes[key] };
    throw invalidParameter(
      `Invalid filter: unknown attribute ${shown(name)} at position ${token.at}; allowed are ${Object.keys(attributes).join(', ')}`,
    );
  }

  private operator(): Operator {
    const token = this.peek();
    if (token.kind === 'symbol' && /^[><=!]/.test(token.text)) return this.take().text as Operator;
    for (const word of ['LIKE', 'ILIKE', 'IN'] as const) if (this.takeWord(word)) return word;
    if (this.takeWord('NOT')) {
      if (this.takeWord('IN')) return 'NOT IN';
      throw this.unexpected('IN');
    }
    if (this.takeWord('IS')) {
      const negated = this.takeWord('NOT');
      if (this.takeWord('NULL')) return negated ? 'IS NOT NULL' : 'IS NULL';
      throw this.unexpected('NULL');
    }
    throw this.unexpected('a comparison: =, !=, >, >=, <, <=, LIKE, ILIKE, IN, NOT IN, IS NULL or IS NOT NULL');
  }

  private value(operator: Operator, type: 'number' | 'text'): Comparison['value'] {
    if (operator === 'IS NULL' || operator === 'IS NOT NULL') return null;
    if (operator === 'IN' || operator === 'NOT IN') return this.list();
    if (type === 'number') return this.number();
    const text = this.text();
    if (!operator.endsWith('LIKE') || text.length <= MAX_PATTERN) return text;
    throw invalidParameter(
      `Invalid filter: a pattern of ${text.length} characters for ${operator}; at most ${MAX_PATTERN} are allowed`,
    );
  }

  private number(): number {
    const token = this.take();
    if (token.kind !== 'number') throw this.unexpected('a number', 'filter', token);
    const value = Number(token.text);
    if (Number.isFinite(value)) return value;
    throw invalidParameter(`Invalid filter: ${token.text} at position ${token.at} is beyond the range of numbers`);
  }

  private text(): string {
    const token = this.take();
    if (token.kind === 'text' || token.kind === 'double') return token.text;
    throw this.unexpected('a text in single quotes', 'filter', token);
  }

  private list(): string[] {
    this.symbol('(');
    const values = [this.text()];
    while (!this.takeSymbol(')')) {
      if (!this.takeSymbol(',')) throw this.unexpected(', or )');
      // Python writes a tuple of one with a comma behind it.
      if (this.takeSymbol(')')) break;
      if (values.length === MAX_LIST) throw invalidParameter(`Invalid filter: a list of more than ${MAX_LIST} values`);
      values.push(this.text());
    }
    return values;
  }

  private symbol(text: string): void {
    if (!this.takeSymbol(text)) throw this.unexpected(text);
  }

  private takeSymbol(text: string): boolean {
    const token = this.peek();
    if (token.kind !== 'symbol' || token.text !== text) return false;
    this.next++;
    return true;
  }

  private takeWord(word: string): boolean {
    const token = this.peek();
    if (token.kind !== 'word' || token.text.toUpperCase() !== word) return false;
    this.next++;
    return true;
  }

  private peek(): Token {
    return this.tokens[this.next];
  }

  private take(): Token {
    const token = this.tokens[this.next];
    if (token.kind !== 'end') this.next++;
    return token;
  }

  private unexpected(wanted: string, what = 'filter', token: Token = this.peek()): RegistryError {
    const found = token.kind === 'end' ? 'its end' : shown(token.text);
    const hint = token.kind === 'word' && token.text.toUpperCase() === 'OR' ? '; OR is not supported' : '';
    return invalidParameter(`Invalid ${what}: expected ${wanted} at position ${token.at}, found ${found}${hint}`);
  }
}
