import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import sharp from 'sharp';
import { scriptRepository, until } from '../../testing/script-models.ts';
import { infer, ServerProcess } from '../../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'to-model-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

/** The mean of each row's values, or their sum. */
const script = (divisor: string) =>
  `export const execute = ({ x }) => { const rows = x.shape[0], width = x.data.length / rows;
    const y = Array.from({ length: rows }, (_, row) => x.data.slice(row * width, (row + 1) * width).reduce((a, b) => a + b, 0) / ${divisor});
    return { y: { datatype: 'FP32', shape: [rows, 1], data: Float32Array.from(y) } }; };\n`;

test('files of pictures and texts become datasets, and their rows answers of models', {
  timeout: 600_000,
}, async (t) => {
  const repository = scriptRepository(scratch, {
    bright: { versions: { 1: script('width') } },
    words: { versions: { 1: script('1') } },
  });
  for (const [model, dims] of [
    ['bright', '4, 6, 3'],
    ['words', '16'],
  ])
    writeFileSync(
      join(repository, model, 'config.pbtxt'),
      `backend: "javascript"\nmax_batch_size: 8\ninput [{name: "x" data_type: TYPE_FP32 dims: [${dims}]}]\noutput [{name: "y" data_type: TYPE_FP32 dims: [1]}]\n`,
    );
  const pictures = join(scratch, 'pictures');
  const greys = { 'dark/a.png': 0, 'dark/b.jpg': 51, 'light/c.webp': 204, 'light/d.png': 255 };
  for (const [name, grey] of Object.entries(greys)) {
    mkdirSync(join(pictures, name, '..'), { recursive: true });
    const background = { r: grey, g: grey, b: grey };
    await sharp({ create: { width: 30, height: 20, channels: 3, background } }).toFile(join(pictures, name));
  }
  writeFileSync(join(pictures, 'dark/broken.png'), 'no picture');
  writeFileSync(join(scratch, 'notes-1.csv'), 'note\n"The cat, the dog"\n');
  writeFileSync(join(scratch, 'notes-2.jsonl'), '{"note": "one"}\n{"note": null}\n');
  const config = join(scratch, 'switchyard.yaml');
  const settings = {
    models: { repositories: [repository] },
    threads: { gateways: 1, executors: 1 },
    datasets: { folders: [scratch] },
  };
  writeFileSync(config, JSON.stringify(settings));
  const server = await ServerProcess.start(['--config', config, '--no-supervise']);
  t.after(() => server.stop());
  interface Answer {
    id: string;
    status: string;
    rejects: number;
    inputs: Parameters<typeof infer>[2];
  }
  const admin = async (path: string, body?: object): Promise<Answer> => {
    const given = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/v1/${path}`, given);
    assert.equal(response.status, 200, await response.clone().text());
    return (await response.json()) as Answer;
  };
  const imported = async (name: string, source: object) => {
    const { id } = await admin('dataset-imports', { name, source, max_rejects: 1 });
    const read = () => admin(`dataset-imports/${id}`);
    await until(`${name} is read`, async () => (await read()).status !== 'running');
    return read();
  };
  const answers = async (name: string, model: string, input: object) => {
    const { inputs } = await admin(`datasets/${name}/versions/latest/tensors`, { inputs: [{ name: 'x', ...input }] });
    const { status, body } = await infer(server, model, inputs);
    assert.equal(status, 200, JSON.stringify(body));
    return (body as { outputs: { data: number[] }[] }).outputs[0].data;
  };

  const seen = await imported('pictures', { kind: 'images', folder: 'pictures' });
  assert.deepEqual([seen.status, seen.rejects], ['succeeded', 1], JSON.stringify(seen));
  const brightness = await answers('pictures', 'bright', { image: 'path', width: 6, height: 4, layout: 'NHWC' });
  // JPEG and WebP do not keep a grey to the digit.
  assert.deepEqual(
    brightness.map((value) => Math.round(value * 20) / 20),
    Object.values(greys).map((grey) => grey / 255),
  );
  const texts = await imported('notes', { kind: 'file', path: 'notes-*' });
  assert.deepEqual([texts.status, texts.rejects], ['succeeded', 0], JSON.stringify(texts));
  assert.deepEqual(await answers('notes', 'words', { hash: 'note', buckets: 16 }), [4, 1, 0]);
});
