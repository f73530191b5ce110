import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { watch } from '../../src/cli/routes.ts';
import { renderRoute } from '../../src/cli/routes-view.ts';
import { AdminClient, type RouteView } from '../../src/client/admin.ts';
import { ServerProcess } from '../../src/testing/server-process.ts';
import { grpcLoad, httpLoad, type Load } from './load.ts';

/**
 * `npm run demo:canary [-- --grpc]`: runs the canary of config/routes/demo.yaml under load, first with a version that is
 * as good as the one before it, then with one that fails and one that is slow. Ends with 0 if the first was promoted,
 * and the others were rolled back.
 */
const CONFIG = fileURLToPath(new URL('../../config', import.meta.url));
const CLEAR = '\x1b[H\x1b[J';
const CANDIDATE = '{model: digits, version: "2"}';
const TIMEOUT_S = 240;

interface Act {
  title: string;
  candidate: string;
  phase: 'succeeded' | 'rolledBack';
}

const ACTS: readonly Act[] = [
  { title: 'a version as good as the one before it', candidate: CANDIDATE, phase: 'succeeded' },
  { title: 'a version that fails', candidate: '{model: digits-failing, version: "1"}', phase: 'rolledBack' },
  { title: 'a version that is slow', candidate: '{model: digits-slow, version: "1"}', phase: 'rolledBack' },
];

/** Both versions of the digits model and the two bad ones, in a folder of their own. */
function prepare(folder: string, act: Act): string {
  const repository = join(folder, 'models');
  mkdirSync(repository);
  for (const name of ['digits-failing', 'digits-slow'])
    cpSync(join(CONFIG, 'demo', name), join(repository, name), { recursive: true });
  const digits = join(CONFIG, 'models/digits');
  for (const version of ['1', '2']) cpSync(join(digits, '1'), join(repository, 'digits', version), { recursive: true });
  cpSync(join(digits, 'labels.txt'), join(repository, 'digits/labels.txt'));
  const config = readFileSync(join(digits, 'config.pbtxt'), 'utf8');
  writeFileSync(join(repository, 'digits/config.pbtxt'), `${config}version_policy: { all: {} }\n`);
  const route = readFileSync(join(CONFIG, 'routes/demo.yaml'), 'utf8').replace(CANDIDATE, act.candidate);
  writeFileSync(join(folder, 'routes.yaml'), route);
  const file = join(folder, 'switchyard.yaml');
  writeFileSync(file, 'models: {repositories: [models]}\nroutes: {files: [routes.yaml]}\n');
  return file;
}

async function play(act: Act, grpc: boolean): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-demo-'));
  const server = await ServerProcess.start(['--config', prepare(folder, act)]);
  const load: Load = grpc ? grpcLoad(server.ports.grpc, CONFIG) : httpLoad(server.ports.http, CONFIG);
  try {
    const client = new AdminClient({ url: `http://127.0.0.1:${server.ports.admin}` });
    const title = `${act.title}, over ${grpc ? 'gRPC' : 'HTTP'}`;
    let last = '';
    const show = (view: RouteView): void => {
      const text = `${title}\n\n${renderRoute(view)}\n\n${load.answered} answered, ${load.failed} failed\n`;
      const phase = view.rollout?.phase ?? '';
      // A log wants what changed, a terminal all of it.
      if (process.stdout.isTTY) process.stdout.write(CLEAR + text);
      else if (phase !== last) process.stdout.write(`${text}\n`);
      last = phase;
    };
    await watch(client, 'digits', show, TIMEOUT_S);
    const { rollout } = await client.getRoute('digits');
    const good = rollout?.phase === act.phase;
    process.stdout.write(
      `${good ? 'as it should be' : 'NOT as it should be'}: ${title}: ${rollout?.phase} ${rollout?.reason}\n\n`,
    );
    return good;
  } finally {
    await load.stop();
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

const grpc = process.argv.includes('--grpc');
let good = true;
for (const act of ACTS) good = (await play(act, grpc)) && good;
process.exitCode = good ? 0 : 1;
