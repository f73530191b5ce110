import assert from 'node:assert/strict';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ConfigError, loadConfig, parseConfig } from './load.ts';

const folder = fileURLToPath(new URL('../testing/bad-configs', import.meta.url));
const files = readdirSync(folder).filter((file) => file.endsWith('.yaml'));

/** Every file there cannot be used; the file beside it holds what is said. UPDATE_GOLDEN=1 writes those anew. */
for (const file of files) {
  test(`${file} is refused with the problems of its golden file`, () => {
    let problems = ['(accepted)'];
    try {
      parseConfig(readFileSync(join(folder, file), 'utf8'), file);
    } catch (error) {
      assert.ok(error instanceof ConfigError, String(error));
      problems = error.problems;
    }
    const golden = join(folder, `${basename(file, '.yaml')}.errors`);
    if (process.env.UPDATE_GOLDEN === '1') writeFileSync(golden, `${problems.join('\n')}\n`);
    assert.equal(`${problems.join('\n')}\n`, readFileSync(golden, 'utf8'));
    for (const problem of problems) assert.match(problem, new RegExp(`^${file}:\\d+:\\d+: [^\\n]+$`));
  });
}

test('an empty file, or one with empty sections, is a whole configuration', () => {
  for (const text of ['', '# nothing\n', '{}', 'server:\n  # httpPort: 1\nmodels:\n'])
    assert.equal(parseConfig(text, 'a.yaml').server.httpPort, 8000);
});

test('an unknown setting is refused even without a value', () => {
  assert.throws(() => parseConfig('servers:\n', 'a.yaml'), /a\.yaml:1:1: unknown setting 'servers'/);
});

test('overrides win over the file, and absent ones do not', () => {
  const text = 'server: {httpPort: 1, host: a}\nmodels: {repositories: [x, y]}\n';
  const config = parseConfig(text, 'a.yaml', {
    server: { httpPort: 2, host: undefined },
    models: { repositories: ['z'] },
    dataDir: undefined,
  });
  assert.deepEqual([config.server.httpPort, config.server.host], [2, 'a']);
  assert.deepEqual(config.models.repositories, ['z']);
  assert.equal(config.dataDir, 'data');
});

test('a file that is not there is named', () => {
  assert.throws(() => loadConfig('no/such.yaml'), /^ConfigError: no\/such\.yaml: cannot be read/);
});

test('a file over 1 MiB is refused unread', () => {
  assert.throws(() => parseConfig(`# ${'x'.repeat(1024 * 1024)}`, 'a.yaml'), /larger than 1048576 bytes/);
});
