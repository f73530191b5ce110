import type { UnitSource } from '../config/route-schema.ts';
import { murmur3 } from './hash.ts';
import type { RequestView } from './matchers.ts';

/** The first non-empty value that sticks, or undefined. */
export function unitOf(sources: readonly UnitSource[], request: RequestView): string | undefined {
  for (let i = 0; i < sources.length; i++) {
    const value = read(sources[i], request);
    if (value !== undefined && value !== '') return value;
  }
  return undefined;
}

/** murmur3 of the unit; −1: there is none. */
export function unitHash(sources: readonly UnitSource[], request: RequestView, seed: number): number {
  for (let i = 0; i < sources.length; i++) {
    const name = sources[i].header ?? sources[i].metadata;
    if (name !== undefined) {
      const hash = request.headerHash(name, seed);
      if (hash >= 0) return hash;
      continue;
    }
    const value = read(sources[i], request);
    if (value !== undefined && value !== '') return murmur3(value, seed);
  }
  return -1;
}

function read(source: UnitSource, request: RequestView): string | undefined {
  if (source.header !== undefined) return request.header(source.header);
  if (source.metadata !== undefined) return request.header(source.metadata);
  if (source.cookie !== undefined) return cookie(request.header('cookie'), source.cookie);
  if (source.input !== undefined) return request.input(source.input);
  if (source.parameter !== undefined) return request.parameter(source.parameter);
  return request.tenant;
}

/** One cookie's value out of a Cookie header, without taking the others apart. */
export function cookie(header: string | undefined, name: string): string | undefined {
  if (header === undefined) return undefined;
  for (let at = 0; at < header.length; ) {
    while (header[at] === ' ') at++;
    let end = header.indexOf(';', at);
    if (end < 0) end = header.length;
    if (header.startsWith(name, at) && header[at + name.length] === '=') {
      let from = at + name.length + 1;
      let to = end;
      while (to > from && header[to - 1] === ' ') to--;
      if (to - from >= 2 && header[from] === '"' && header[to - 1] === '"') {
        from++;
        to--;
      }
      return header.slice(from, to);
    }
    at = end + 1;
  }
  return undefined;
}
