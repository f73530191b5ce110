import assert from 'node:assert/strict';
import fs, {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, mock, test } from 'node:test';
import fc from 'fast-check';
import { crc32c } from '../../shared/crc32c.ts';
import { native } from '../../tensor/native.ts';
import { CursorFile } from './cursor.ts';
import { HEADER_BYTES, parseRecords, sealRecord, sealRecords } from './format.ts';
import { type Position, Spool, type SpoolOptions } from './spool.ts';

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'spool-'));
  folders.push(dir);
  return dir;
}

const MIB = 1024 * 1024;

function openSpool(dir: string, options: Partial<SpoolOptions> = {}): Spool {
  return new Spool({
    dir,
    segmentBytes: MIB,
    maxBytes: 100 * MIB,
    whenFull: 'drop-oldest',
    fsync: 'never',
    ...options,
  });
}

/** Sealed records with these texts. */
function chunkOf(texts: readonly string[]): Uint8Array {
  const parts = texts.map((text) => {
    const body = Buffer.from(text);
    const record = new Uint8Array(HEADER_BYTES + 1 + body.length);
    record.set(body, HEADER_BYTES + 1);
    sealRecord(record, 0, record.length);
    return record;
  });
  return new Uint8Array(Buffer.concat(parts));
}

const append = (spool: Spool, texts: readonly string[]): boolean => spool.append(chunkOf(texts), texts.length);

function readAll(
  spool: Spool,
  from: Position = spool.oldest,
  step = 7,
): { texts: string[]; lost: number; at: Position } {
  const texts: string[] = [];
  let at = from;
  let lost = 0;
  for (;;) {
    const read = spool.read(at, step);
    lost += read.lost;
    texts.push(...read.records.map(({ body }) => Buffer.from(body).toString()));
    if (read.next.record === at.record) return { texts, lost, at };
    at = read.next;
  }
}

const files = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => name.endsWith('.spool'))
    .sort();

test('CRC-32C is the one of the RFC', () => {
  assert.equal(crc32c(Buffer.from('123456789'), 0, 9), 0xe3069283);
  assert.equal(crc32c(new Uint8Array(32), 0, 32), 0x8a9136aa);
  assert.equal(crc32c(new Uint8Array(32).fill(255), 0, 32), 0x62a8ab43);
});

test('the processor’s instructions make the same checksum', { skip: native?.crc32c === undefined }, () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(20), (bytes, start) => {
      const from = Math.min(start, bytes.length);
      assert.equal(native?.crc32c?.(bytes, from, bytes.length), crc32c(bytes, from, bytes.length));
    }),
  );
  assert.throws(() => native?.crc32c?.(new Uint8Array(8), 0, 9), /range/);
});

test('what was appended is read, over segments and restarts, in any steps', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.string({ maxLength: 50 }), { minLength: 1, maxLength: 20 }), { maxLength: 20 }),
      fc.integer({ min: 1, max: 30 }),
      fc.nat(20),
      (chunks, step, restartAt) => {
        const dir = folder();
        let spool = openSpool(dir, { segmentBytes: 200 });
        chunks.forEach((texts, i) => {
          if (i === restartAt) {
            spool.close();
            spool = openSpool(dir, { segmentBytes: 200 });
          }
          assert.ok(append(spool, texts));
        });
        const all = chunks.flat();
        const { texts, lost, at } = readAll(spool, spool.oldest, step);
        assert.deepEqual(
          texts,
          all.map((text) => Buffer.from(text).toString()),
        );
        assert.equal(lost, 0);
        assert.equal(at.record, all.length);
        assert.equal(spool.end.record, all.length);
        spool.close();
      },
    ),
    { numRuns: 40 },
  );
});

test('a torn tail is cut, wherever it was torn, and nothing before it is lost', () => {
  const dir = folder();
  const first = openSpool(dir);
  append(first, ['one', 'two']);
  first.close();
  const [name] = files(dir);
  const whole = readFileSync(join(dir, name));
  const size = chunkOf(['one']).length;
  for (let cut = size; cut < whole.length; cut++) {
    writeFileSync(join(dir, name), whole.subarray(0, cut));
    for (const other of files(dir).slice(1)) rmSync(join(dir, other));
    const spool = openSpool(dir);
    assert.deepEqual(readAll(spool).texts, ['one']);
    assert.equal(statSync(join(dir, name)).size, size);
    append(spool, ['after']);
    assert.deepEqual(readAll(spool).texts, ['one', 'after']);
    spool.close();
  }
});

test('a damaged record is set aside and counted once, and the ones around it are read', () => {
  const dir = folder();
  const before = openSpool(dir);
  append(before, ['one', 'two', 'three']);
  before.close();
  const path = join(dir, files(dir)[0]);
  const bytes = readFileSync(path);
  bytes[chunkOf(['one']).length + HEADER_BYTES + 2] ^= 1;
  writeFileSync(path, bytes);
  const spool = openSpool(dir);
  for (let i = 0; i < 2; i++) {
    const { texts, lost } = readAll(spool);
    assert.deepEqual(texts, ['one', 'three']);
    assert.equal(lost, 1);
  }
  assert.equal(spool.setAside, 1);
  assert.equal(readdirSync(dir).filter((name) => name.endsWith('.bad')).length, 1);
  spool.close();
});

test('garbage behind whole records in the middle of the spool costs no other segment', () => {
  const dir = folder();
  const before = openSpool(dir, { segmentBytes: 40 });
  for (const text of ['one one one one', 'two two two two', 'three']) append(before, [text]);
  before.close();
  const [, second] = files(dir);
  truncateSync(join(dir, second), 5);
  appendFileSync(join(dir, second), 'garbage');
  const spool = openSpool(dir);
  const { texts, lost } = readAll(spool);
  assert.deepEqual(texts, ['one one one one', 'three']);
  assert.equal(lost, 1);
  spool.close();
});

test('a segment that cannot be read for a while loses nothing, and cuts nothing', () => {
  const dir = folder();
  const before = openSpool(dir, { segmentBytes: 40 });
  for (const text of ['one one one one', 'two two two two', 'three three three']) append(before, [text]);
  before.close();
  const spool = openSpool(dir);
  const second = join(dir, files(dir)[1]);
  renameSync(second, `${second}.away`);
  const first = spool.read(spool.oldest, 100);
  assert.deepEqual(
    first.records.map(({ body }) => Buffer.from(body).toString()),
    ['one one one one'],
    'what comes before it is read',
  );
  assert.throws(() => spool.read(first.next, 100), /ENOENT/, 'what cannot be read is not taken for damaged');
  assert.throws(() => [...spool.check()], /ENOENT/);
  renameSync(`${second}.away`, second);
  const { texts, lost } = readAll(spool, first.next);
  assert.deepEqual(texts, ['two two two two', 'three three three']);
  assert.equal(lost, 0);
  spool.close();
});

test('a start that cannot read the last segment fails, and leaves it as it is', () => {
  const dir = folder();
  const before = openSpool(dir);
  append(before, ['one', 'two']);
  before.close();
  const path = join(dir, files(dir)[0]);
  const whole = readFileSync(path);
  const failing = mock.method(fs, 'readSync', () => {
    throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
  });
  syncBuiltinESMExports();
  try {
    assert.throws(() => openSpool(dir), /EIO/);
  } finally {
    failing.mock.restore();
    syncBuiltinESMExports();
  }
  assert.deepEqual(readFileSync(path), whole);
  const spool = openSpool(dir);
  assert.deepEqual(readAll(spool).texts, ['one', 'two']);
  assert.equal(spool.tornBytes, 0);
  spool.close();
});

test('what was appended in small pieces is read in large ones', () => {
  const spool = openSpool(folder(), { segmentBytes: 300 });
  for (let i = 0; i < 100; i++) append(spool, [`record ${i}`]);
  const { records, next } = spool.read(spool.oldest, 90);
  assert.equal(records.length, 90);
  assert.equal(next.record, 90);
  assert.equal(spool.read(next, 90).records.length, 10);
  spool.close();
});

test('at its limit the oldest segment goes, and whoever had not read it is told how much was lost', () => {
  const spool = openSpool(folder(), { segmentBytes: 100, maxBytes: 400 });
  const start = spool.oldest;
  for (let i = 0; i < 50; i++) assert.ok(append(spool, [`record ${i}`]));
  const { texts, lost } = readAll(spool, start);
  assert.equal(texts.length + lost, 50);
  assert.equal(spool.evicted, lost);
  assert.equal(texts.at(-1), 'record 49');
  assert.ok(spool.bytes <= 400);
  spool.close();
});

test('drop-new refuses what finds no room, and takes more when a sink has read', () => {
  const spool = openSpool(folder(), { segmentBytes: 100, maxBytes: 400, whenFull: 'drop-new' });
  let taken = 0;
  while (append(spool, [`record ${taken}`])) taken++;
  const { texts, at } = readAll(spool);
  assert.equal(texts.length, taken);
  spool.release([at]);
  assert.ok(append(spool, ['again']));
  spool.close();
});

test('segments are deleted once every cursor has passed them, not before', () => {
  const dir = folder();
  const spool = openSpool(dir, { segmentBytes: 100 });
  for (let i = 0; i < 20; i++) append(spool, [`record ${i}`]);
  const slow = spool.oldest;
  const { at } = readAll(spool);
  const count = files(dir).length;
  spool.release([at, slow]);
  assert.equal(files(dir).length, count);
  spool.release([at]);
  assert.equal(files(dir).length, 1);
  spool.close();
});

test('a cursor is replaced whole; a broken one counts as none', () => {
  const path = join(folder(), 'sink.cursor');
  const cursor = new CursorFile(path);
  assert.equal(cursor.load(), undefined);
  const state = { position: { segment: 3, offset: 9, record: 12 }, note: { file: 'a', size: 3 } };
  cursor.save(state);
  assert.deepEqual(cursor.load(), state);
  writeFileSync(path, '{"position": {"segment": -1}}');
  assert.equal(cursor.load(), undefined);
  writeFileSync(path, '{"posi');
  assert.equal(cursor.load(), undefined);
  const unreadable = folder();
  assert.throws(() => new CursorFile(unreadable).load(), /EISDIR/, 'one that cannot be read is not taken for none');
});

test('records sealed together are those sealed one by one', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { maxLength: 6 }), (bodies) => {
      const parts = bodies.map((body) => Buffer.concat([new Uint8Array(HEADER_BYTES), body]));
      let at = 0;
      const ends = Int32Array.from(parts, ({ length }) => (at += length));
      const [one, other] = [Buffer.concat(parts), Buffer.concat(parts)];
      sealRecords(one, ends, parts.length);
      parts.forEach(({ length }, i) => {
        sealRecord(other, ends[i] - length, ends[i]);
      });
      assert.deepEqual(one, other);
      assert.equal(parseRecords(one, 0, Number.POSITIVE_INFINITY).count, parts.length);
    }),
  );
});

test('ends that are not those of records are refused', { skip: native?.sealRecords === undefined }, () => {
  for (const ends of [[12], [31], [20, 25], [-1]])
    assert.throws(() => sealRecords(new Uint8Array(30), Int32Array.from(ends), ends.length), RangeError);
});

test('no bytes at all make the reader fail', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 300 }),
      fc.array(fc.string(), { maxLength: 5 }),
      fc.nat(400),
      (noise, texts, at) => {
        const good = chunkOf(texts);
        const mixed = Buffer.concat([good.subarray(0, at), noise, good.subarray(at)]);
        const { run, end } = parseRecords(mixed, 0, Number.POSITIVE_INFINITY);
        assert.ok(run.count <= texts.length + 1 && end <= mixed.length);
      },
    ),
  );
});
