import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { watch } from '../../src/cli/routes.ts';
import { renderRoute } from '../../src/cli/routes-view.ts';
import { onTerminal, redrawn } from '../../src/cli/screen.ts';
import { AdminClient, type RouteView } from '../../src/client/admin.ts';
import { ServerProcess } from '../../src/testing/server-process.ts';
import { grpcLoad, httpLoad, type Load } from './load.ts';

/**
 * `npm run demo:canary [-- --grpc]`: runs the canary of config/routes/demo.yaml under load, first with a version that is
 * as good as the one before it, then with one that fails and one that is slow. Ends with 0 if the first was promoted
 * and is the champion in the registry, and the others were rolled back.
 */
const CONFIG = fileURLToPath(new URL('../../config', import.meta.url));
const TIMEOUT_S = 240;

interface Act {
  title: string;
  /** The script that is version 2, a good one being version 1; absent: both are the trained model. */
  candidate?: 'failing' | 'slow';
  phase: 'succeeded' | 'rolledBack';
  /** Version that is the champion in the end. */
  champion: string;
}

const ACTS: readonly Act[] = [
  { title: 'a version as good as the one before it', phase: 'succeeded', champion: '2' },
  { title: 'a version that fails', candidate: 'failing', phase: 'rolledBack', champion: '1' },
  { title: 'a version that is slow', candidate: 'slow', phase: 'rolledBack', champion: '1' },
];

/** Both versions of the digits model, in a folder of their own. A model's versions are of one backend. */
function prepare(folder: string, { candidate }: Act): string {
  const model = join(folder, 'models/digits');
  mkdirSync(model, { recursive: true });
  const digits = join(CONFIG, 'models/digits');
  if (candidate === undefined) {
    for (const version of ['1', '2']) cpSync(join(digits, '1'), join(model, version), { recursive: true });
    cpSync(join(digits, 'labels.txt'), join(model, 'labels.txt'));
    const config = readFileSync(join(digits, 'config.pbtxt'), 'utf8');
    writeFileSync(join(model, 'config.pbtxt'), `${config}version_policy: { all: {} }\n`);
  } else {
    const scripts = join(CONFIG, 'demo/digits');
    cpSync(join(scripts, 'good.mjs'), join(model, '1/model.mjs'));
    cpSync(join(scripts, `${candidate}.mjs`), join(model, '2/model.mjs'));
    cpSync(join(scripts, 'config.pbtxt'), join(model, 'config.pbtxt'));
  }
  const file = join(folder, 'switchyard.yaml');
  const routes = JSON.stringify(join(CONFIG, 'routes/demo.yaml'));
  writeFileSync(file, `models: {repositories: [models]}\nroutes: {files: [${routes}]}\n`);
  return file;
}

/** Both versions of the digits model in the server's registry, the first of them its champion. */
async function register(server: ServerProcess): Promise<void> {
  const mlflow = async (path: string, body: object): Promise<void> => {
    const response = await fetch(`http://127.0.0.1:${server.ports.admin}/api/2.0/mlflow/${path}`, {
      method: 'POST',
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  };
  await mlflow('registered-models/create', { name: 'digits' });
  for (const artifact of ['first', 'second'])
    await mlflow('model-versions/create', { name: 'digits', source: `mlflow-artifacts:/0/${artifact}` });
  await mlflow('registered-models/alias', { name: 'digits', alias: 'champion', version: '1' });
}

async function championOf(server: ServerProcess): Promise<string> {
  const query = 'name=digits&alias=champion';
  const response = await fetch(
    `http://127.0.0.1:${server.ports.admin}/api/2.0/mlflow/registered-models/alias?${query}`,
  );
  return ((await response.json()) as { model_version: { version: string } }).model_version.version;
}

async function play(act: Act, grpc: boolean): Promise<boolean> {
  const folder = mkdtempSync(join(tmpdir(), 'switchyard-demo-'));
  const server = await ServerProcess.start(['--config', prepare(folder, act)]);
  await register(server);
  const load: Load = grpc ? grpcLoad(server.ports.grpc, CONFIG) : httpLoad(server.ports.http, CONFIG);
  try {
    const client = new AdminClient({ url: `http://127.0.0.1:${server.ports.admin}` });
    const title = `${act.title}, over ${grpc ? 'gRPC' : 'HTTP'}`;
    let last = '';
    const show = (view: RouteView): void => {
      const text = `${title}\n\n${renderRoute(view)}\n\n${load.answered} answered, ${load.failed} failed\n`;
      const phase = view.rollout?.phase ?? '';
      // A log wants what changed, a terminal all of it.
      if (onTerminal()) process.stdout.write(redrawn(text));
      else if (phase !== last) process.stdout.write(`${text}\n`);
      last = phase;
    };
    await watch(client, 'digits', show, TIMEOUT_S);
    const { rollout } = await client.getRoute('digits');
    const champion = await championOf(server);
    const good = rollout?.phase === act.phase && champion === act.champion;
    process.stdout.write(
      `${good ? 'as it should be' : 'NOT as it should be'}: ${title}: ${rollout?.phase} ${rollout?.reason}; the champion is version ${champion}\n\n`,
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
