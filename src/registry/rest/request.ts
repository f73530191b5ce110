import type { IncomingMessage } from 'node:http';
import { z } from 'zod';
import { MAX_JSON_DEPTH, nestsTooDeeply } from '../../shared/json-depth.ts';
import { invalidParameter, shown } from '../errors.ts';

const utf8 = new TextDecoder('utf-8', { fatal: true });
const NOTHING = new Uint8Array(0);

/** The whole body. Rejects with invalid_argument beyond `maxBytes`, and with an error when the client goes away. */
export function readBody(request: IncomingMessage, contentLength: number, maxBytes: number): Promise<Uint8Array> {
  if (contentLength > maxBytes) return Promise.reject(tooLarge(maxBytes));
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > maxBytes) {
        request.pause();
        reject(tooLarge(maxBytes));
      } else chunks.push(chunk);
    });
    request.on('end', () =>
      resolve(chunks.length === 0 ? NOTHING : chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)),
    );
    request.on('close', () => {
      // After every request, too; an error that nobody needs costs as much as parsing the body.
      if (!request.readableEnded) reject(new Error('the client went away'));
    });
  });
}

function tooLarge(maxBytes: number): Error {
  return invalidParameter(`the request body is too large; at most ${maxBytes} bytes are taken here`);
}

/** An empty body is an empty object. Throws invalid_argument, also for "__proto__" as a key. */
export function parseBody(bytes: Uint8Array): Record<string, unknown> {
  if (bytes.byteLength === 0) return {};
  let content: string;
  try {
    content = utf8.decode(bytes);
  } catch {
    throw invalidParameter('the request body is not UTF-8 text; send a JSON object');
  }
  if (nestsTooDeeply(content))
    throw invalidParameter(`the request body nests too deeply; at most ${MAX_JSON_DEPTH} levels are taken`);
  let value: unknown;
  try {
    // The check of each value costs more than the parsing: only texts that may hold what is refused pay for it.
    value = /_proto_|\\u005|\\u0000/.test(content) ? JSON.parse(content, refuse) : JSON.parse(content);
  } catch (error) {
    if (error instanceof SyntaxError)
      throw invalidParameter(`the request body is not JSON: ${error.message.slice(0, 200)}; send a JSON object`);
    throw error;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidParameter('the request body must be a JSON object');
  return value as Record<string, unknown>;
}

function refuse(key: string, value: unknown): unknown {
  if (key === '__proto__') throw invalidParameter('the request body has the key "__proto__", which is not allowed');
  if (key.includes('\0')) throw nulIn('a key of the request body');
  if (typeof value === 'string' && value.includes('\0')) throw nulIn(`'${key}'`);
  return value;
}

function nulIn(where: string): Error {
  return invalidParameter(`${where} holds the character U+0000, which databases cannot store; leave it out`);
}

/** Refuses what no text here may hold. Throws invalid_argument. */
export function checkTarget({ path, query }: { path: string; query: string }): void {
  if (path.includes('%00')) throw nulIn('the path');
  if (query.includes('%00')) throw nulIn('the query');
}

/** A query string as an object: fields that the schema says are lists take every repetition. */
export function readQuery(query: URLSearchParams, schema: z.ZodObject): Record<string, unknown> {
  const values: Record<string, unknown> = Object.create(null);
  for (const key of query.keys()) {
    if (!Object.hasOwn(schema.shape, key)) continue;
    values[key] = isList(schema.shape[key]) ? query.getAll(key) : query.get(key);
  }
  return values;
}

function isList(field: unknown): boolean {
  let type = field as z.ZodType;
  while (type instanceof z.ZodOptional || type instanceof z.ZodNullable || type instanceof z.ZodDefault)
    type = type.unwrap() as z.ZodType;
  return type instanceof z.ZodArray;
}

/** Checks a request. Throws invalid_argument naming the first parameter that is wrong. */
export function validate<S extends z.ZodObject>(schema: S, values: Record<string, unknown>): z.output<S> {
  const result = schema.safeParse(values);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const value = at(values, issue.path);
  const name = issue.path.map(String).join('.');
  if (value === undefined) throw invalidParameter(`Missing value for required parameter '${name}'`);
  throw invalidParameter(`Invalid value ${shown(value)} for parameter '${name}' supplied: ${deepest(issue)}`);
}

/** What a union's most talkative alternative says. */
function deepest(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_union') return issue.message;
  const alternatives = issue.errors.flat();
  return alternatives.map((alternative) => alternative.message).join(', or ') || issue.message;
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let found = value;
  for (const key of path) {
    if (typeof found !== 'object' || found === null) return undefined;
    found = (found as Record<PropertyKey, unknown>)[key];
  }
  return found;
}
