import { closeSync, fstatSync, lstatSync, openSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SwitchyardError } from '../../shared/errors.ts';
import { isSafeRelativePath } from './names.ts';

/** Where a protobuf message nests another one that may hold tensors: field number → message. */
const NESTED: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  model: { 7: 'graph', 20: 'training', 25: 'function' },
  graph: { 1: 'node', 5: 'tensor', 15: 'sparse' },
  node: { 5: 'attribute' },
  attribute: { 5: 'tensor', 6: 'graph', 10: 'tensor', 11: 'graph', 22: 'sparse', 23: 'sparse' },
  tensor: { 13: 'entry' },
  sparse: { 1: 'tensor', 2: 'tensor' },
  training: { 1: 'graph', 2: 'graph' },
  function: { 7: 'node' },
  entry: {},
};
const WINDOW = 64 * 1024;
const MAX_DEPTH = 64;

/**
 * The distinct locations of a model file's external tensor data. Reads only the protobuf's structure and skips weights,
 * so a file of gigabytes costs a few reads. Throws failed_precondition when the file is not protobuf.
 */
export function externalLocations(path: string): string[] {
  const fd = openSync(path, 'r');
  try {
    const reader = new Reader(fd, fstatSync(fd).size);
    const found = new Set<string>();
    reader.message('model', reader.size, 0, found);
    return [...found];
  } finally {
    closeSync(fd);
  }
}

/**
 * Refuses a model whose external data is anything but a regular file, reached through no link, inside the folder of its
 * model file. Throws failed_precondition naming the location.
 */
export function checkExternalData(modelFile: string): void {
  for (const location of externalLocations(modelFile)) {
    const named = `external data location ${JSON.stringify(location.slice(0, 200))}`;
    if (!isSafeRelativePath(location))
      throw refused(`${named} is not a plain relative path inside the version's folder`);
    let path = dirname(modelFile);
    const parts = location.split('/');
    for (const [i, part] of parts.entries()) {
      path = join(path, part);
      const facts = lstatSync(path, { throwIfNoEntry: false });
      if (facts === undefined) throw refused(`${named} does not exist in the version's folder`);
      const fits = i === parts.length - 1 ? facts.isFile() : facts.isDirectory();
      if (!fits) throw refused(`${named} is not a regular file; links and devices are not followed`);
    }
  }
}

function refused(message: string): SwitchyardError {
  return new SwitchyardError('failed_precondition', message);
}

class Reader {
  readonly size: number;
  private readonly fd: number;
  private readonly buffer = Buffer.alloc(WINDOW);
  private start = 0;
  private filled = 0;
  private offset = 0;

  constructor(fd: number, size: number) {
    this.fd = fd;
    this.size = size;
  }

  message(kind: string, end: number, depth: number, found: Set<string>): void {
    if (depth > MAX_DEPTH || end > this.size) throw notOnnx();
    const nested = NESTED[kind];
    let key = '';
    let value = '';
    while (this.offset < end) {
      const tag = this.varint();
      const field = Math.floor(tag / 8);
      const wire = tag % 8;
      if (field === 0) throw notOnnx();
      if (wire === 0) this.varint();
      else if (wire === 1) this.offset += 8;
      else if (wire === 5) this.offset += 4;
      else if (wire !== 2) throw notOnnx();
      else {
        const next = this.varint() + this.offset;
        if (next > end) throw notOnnx();
        if (kind === 'entry' && (field === 1 || field === 2)) {
          const text = this.text(next);
          if (field === 1) key = text;
          else value = text;
        } else if (Object.hasOwn(nested, field)) this.message(nested[field], next, depth + 1, found);
        this.offset = next;
      }
    }
    if (this.offset !== end) throw notOnnx();
    if (key === 'location') found.add(value);
  }

  private byte(): number {
    if (this.offset < this.start || this.offset >= this.start + this.filled) {
      this.start = this.offset;
      this.filled = readSync(this.fd, this.buffer, 0, WINDOW, this.offset);
      if (this.filled === 0) throw notOnnx();
    }
    return this.buffer[this.offset++ - this.start];
  }

  /** Only tags and lengths need to be exact; a 64-bit value loses its low bits here and is skipped anyway. */
  private varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
    }
    throw notOnnx();
  }

  private text(end: number): string {
    const length = end - this.offset;
    if (length > 4096) throw refused('an external data entry is longer than 4096 bytes');
    const bytes = Buffer.alloc(length);
    for (let i = 0; i < length; i++) bytes[i] = this.byte();
    return bytes.toString('utf8');
  }
}

function notOnnx(): SwitchyardError {
  return refused('the model file is not an ONNX model, or it is cut short');
}
