import { configError, type Token, tokenize } from './tokens.ts';
import {
  MAX_CONFIG_BYTES,
  MAX_DEPTH,
  type TreeField,
  type TreeMessage,
  type TreeScalar,
  type TreeValue,
} from './tree.ts';

/**
 * Parses a text protobuf (config.pbtxt) into a generic tree, knowing nothing of any message type.
 * Throws invalid_argument naming `file`, line and column.
 */
export function parsePbtxt(source: string, file: string): TreeMessage {
  if (Buffer.byteLength(source) > MAX_CONFIG_BYTES) {
    throw configError(file, { line: 0, column: 0 }, `is larger than ${MAX_CONFIG_BYTES} bytes`);
  }
  const parser = new Parser(tokenize(source, file), file);
  return parser.document();
}

class Parser {
  private readonly tokens: Token[];
  private readonly file: string;
  private index = 0;

  constructor(tokens: Token[], file: string) {
    this.tokens = tokens;
    this.file = file;
  }

  document(): TreeMessage {
    return { kind: 'message', fields: this.fields('', 0), line: 1, column: 1 };
  }

  private get current(): Token {
    return this.tokens[this.index];
  }

  private isSymbol(text: string): boolean {
    return this.current.kind === 'symbol' && this.current.text === text;
  }

  private skipSymbol(text: string): boolean {
    if (!this.isSymbol(text)) return false;
    this.index++;
    return true;
  }

  private fail(expected: string): never {
    const token = this.current;
    const found = token.kind === 'end' ? 'the end of the file' : JSON.stringify(token.text);
    throw configError(this.file, token, `expected ${expected}, found ${found}`);
  }

  /** Fields up to `close`, which is consumed; '' reads to the end of the file. */
  private fields(close: string, depth: number): TreeField[] {
    if (depth > MAX_DEPTH) throw configError(this.file, this.current, `messages nest deeper than ${MAX_DEPTH}`);
    const fields: TreeField[] = [];
    while (true) {
      if (close === '' ? this.current.kind === 'end' : this.skipSymbol(close)) return fields;
      const { kind, text, line, column } = this.current;
      if (kind !== 'word') this.fail(close === '' ? 'a field name' : `a field name or "${close}"`);
      this.index++;
      fields.push({ name: text, line, column, value: this.fieldValue(depth) });
      if (!this.skipSymbol(';')) this.skipSymbol(',');
    }
  }

  /** The colon may be left out before a message and before a list of messages. */
  private fieldValue(depth: number): TreeValue {
    const colon = this.skipSymbol(':');
    if (this.isSymbol('[')) return this.list(depth, colon);
    if (this.isSymbol('{') || this.isSymbol('<')) return this.message(depth);
    if (!colon) this.fail('":" or "{" after the field name');
    return this.scalar();
  }

  private list(depth: number, scalars: boolean): TreeValue {
    const { line, column } = this.current;
    const items: TreeValue[] = [];
    this.index++;
    if (!this.skipSymbol(']')) {
      do {
        if (this.isSymbol('{') || this.isSymbol('<')) items.push(this.message(depth));
        else if (scalars) items.push(this.scalar());
        else this.fail('a message in the list');
      } while (this.skipSymbol(','));
      if (!this.skipSymbol(']')) this.fail('"," or "]"');
    }
    return { kind: 'list', items, line, column };
  }

  private message(depth: number): TreeMessage {
    const { line, column, text } = this.current;
    this.index++;
    return { kind: 'message', fields: this.fields(text === '{' ? '}' : '>', depth + 1), line, column };
  }

  private scalar(): TreeScalar {
    const { line, column } = this.current;
    if (this.current.kind === 'string') {
      let text = '';
      for (; this.current.kind === 'string'; this.index++) text += this.current.text;
      return { kind: 'scalar', form: 'string', text, line, column };
    }
    const sign = this.skipSymbol('-') ? '-' : '';
    const { kind, text } = this.current;
    const minusWord = sign !== '' && kind === 'word' && !/^(inf|infinity|nan)$/i.test(text);
    if ((kind !== 'number' && kind !== 'word') || minusWord) this.fail('a value');
    this.index++;
    return { kind: 'scalar', form: kind, text: sign + text, line, column };
  }
}
