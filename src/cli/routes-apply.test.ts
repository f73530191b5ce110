import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { cli } from '../testing/cli.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-apply-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

const ROUTE = `# Says who made it.
apiVersion: switchyard/v1
kind: Route
metadata: {name: m}
spec:
  variants: {stable: {model: m, version: "1"}, next: {model: m, version: "2"}}
  strategy:
    weighted: {stable: 90, next: 20}
`;

test('routes that are refused are told with file, line and column, before any server is asked', async () => {
  const file = join(scratch, 'routes.yaml');
  writeFileSync(file, ROUTE);
  // Nobody listens there: a right file gets as far as that.
  const apply = () => cli(['routes', 'apply', file, '--admin', 'http://127.0.0.1:9']);
  const { code, err } = await apply();
  assert.equal(code, 1);
  assert.match(err, /routes\.yaml:8:5: spec\.strategy\.weighted: the weights add up to 110/);
  writeFileSync(file, ROUTE.replace('next: 20', 'next: 10'));
  assert.equal((await apply()).code, 69);
});
