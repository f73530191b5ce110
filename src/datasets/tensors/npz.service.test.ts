import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import sharp from 'sharp';
import { cli } from '../../testing/cli.ts';
import { openDatasets } from '../../testing/datasets.ts';
import { service } from '../../testing/kafka-consumer.ts';

const python = service('SWITCHYARD_TEST_FEAST_PYTHON', '.ci/clients/feast/setup.sh');
const folder = mkdtempSync(join(tmpdir(), 'npz-'));
const { server } = await openDatasets({ folders: [folder] });
after(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

const run = (...args: string[]) => cli(['datasets', ...args, '--admin', server.url]);

/** What NumPy itself finds in an .npz, whose checksums Python's zipfile has compared. */
async function load(path: string): Promise<Record<string, { dtype: string; shape: number[]; values: unknown[] }>> {
  const script = `
import json, sys, zipfile, numpy
assert zipfile.ZipFile(sys.argv[1]).testzip() is None
found = {}
with numpy.load(sys.argv[1], allow_pickle=False) as arrays:
    for name in arrays.files:
        array = arrays[name]
        values = numpy.char.decode(array, "utf-8") if array.dtype.kind == "S" else numpy.nan_to_num(array, nan=-1)
        found[name] = {"dtype": array.dtype.str, "shape": array.shape, "values": values.ravel()[:40].tolist()}
        if array.dtype.kind == "f":
            found[name]["values"].append(float(numpy.nansum(array.astype("f8"))))
print(json.dumps(found))`;
  const { stdout } = await promisify(execFile)(python, ['-c', script, path]);
  return JSON.parse(stdout);
}

function inputs(list: readonly object[]): string {
  const file = join(folder, 'inputs.json');
  writeFileSync(file, JSON.stringify(list));
  return file;
}

test('NumPy reads columns, lists and texts of all rows, batch after batch', async () => {
  const rows = 10_000;
  const file = join(folder, 'rows.jsonl');
  const lines = Array.from({ length: rows }, (_, i) =>
    JSON.stringify({
      a: i % 7 === 1 ? null : i,
      v: i < 5000 && i > 0 ? null : [i, i + 0.5],
      note: i === 9 ? 'Köln 東京' : 'x y',
    }),
  );
  writeFileSync(file, `${lines.join('\n')}\n`);
  assert.equal((await run('create', 'many', file)).code, 0);
  const to = join(folder, 'many.npz');
  const wish = inputs([
    { name: 'dense/x', columns: ['a', 'v'] },
    { name: 'text', bytes: 'note' },
    { name: 'words', hash: 'note', buckets: 512 },
  ]);
  const made = await run('arrays', 'many', '--inputs', wish, '--to', to);
  assert.equal(made.code, 0, made.err);
  const found = await load(to);
  assert.deepEqual(Object.keys(found), ['dense/x', 'text', 'words']);
  const { 'dense/x': x, text, words } = found;
  assert.deepEqual([x.dtype, x.shape], ['<f4', [rows, 3]]);
  assert.deepEqual(x.values.slice(0, 6), [0, 0, 0.5, -1, -1, -1]);
  const expected = lines
    .map((line) => JSON.parse(line) as { a: number | null; v: number[] | null })
    .reduce((sum, { a, v }) => sum + (a ?? 0) + (v?.[0] ?? 0) + (v?.[1] ?? 0), 0);
  assert.equal(x.values.at(-1), expected);
  assert.deepEqual([text.dtype, text.shape], ['|S12', [rows, 1]]);
  assert.deepEqual(text.values.slice(8, 11), ['x y', 'Köln 東京', 'x y']);
  assert.deepEqual([words.shape, words.values.at(-1)], [[rows, 512], 2 * rows]);
});

test('NumPy reads pictures as a model wants them', async () => {
  const pictures = join(folder, 'pictures', 'all');
  mkdirSync(pictures, { recursive: true });
  for (const [i, r] of [0, 51, 255].entries())
    await sharp({ create: { width: 30, height: 20, channels: 3, background: { r, g: 0, b: 0 } } })
      .png()
      .toFile(join(pictures, `${i}.png`));
  const source = join(folder, 'source.json');
  writeFileSync(source, JSON.stringify({ kind: 'images', folder: 'pictures' }));
  const created = await run('create', 'pictures', '--source', source);
  assert.equal(created.code, 0, created.err);
  const to = join(folder, 'pictures.npz');
  const size = { width: 4, height: 2 };
  const wish = inputs([
    { name: 'floats', image: 'path', ...size },
    { name: 'bytes', image: 'path', ...size, layout: 'NHWC', datatype: 'UINT8' },
  ]);
  const made = await run('arrays', 'pictures', '--inputs', wish, '--to', to);
  assert.equal(made.code, 0, made.err);
  const { floats, bytes } = await load(to);
  assert.deepEqual([floats.dtype, floats.shape], ['<f4', [3, 3, 2, 4]]);
  assert.ok(Math.abs((floats.values.at(-1) as number) - 8 * (0 + 0.2 + 1)) < 1e-5);
  assert.deepEqual([bytes.dtype, bytes.shape], ['|u1', [3, 2, 4, 3]]);
  assert.deepEqual(bytes.values.slice(24, 30), [51, 0, 0, 51, 0, 0]);
});

test('what can be no array is refused with words, and leaves no file', async () => {
  writeFileSync(join(folder, 'few.jsonl'), '{"v": [1, 2], "s": "x"}\n{"v": [1], "s": "y"}\n');
  assert.equal((await run('create', 'few', join(folder, 'few.jsonl'))).code, 0);
  const to = join(folder, 'few.npz');
  const refused = async (list: readonly object[]) => {
    const { code, err } = await run('arrays', 'few', '--inputs', inputs(list), '--to', to);
    assert.equal(code, 1);
    return err;
  };
  assert.match(await refused([{ name: 'x', columns: ['v'] }]), /column "v" has lists of 1 to 2 items/);
  assert.match(await refused([{ name: 'x', columns: ['s'] }]), /column "s" is of type string/);
  assert.match(await refused([{ name: 'x', columns: ['none'] }]), /there is no column "none"/);
  assert.match(await refused([{ name: '../x', bytes: 's' }]), /"\.\.\/x" can be none of a file/);
  assert.match(
    await refused([
      { name: 'x', bytes: 's' },
      { name: 'x', hash: 's' },
    ]),
    /"x" is there twice/,
  );
  assert.match(await refused([]), /inputs/);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith('few.npz')),
    [],
  );
});
