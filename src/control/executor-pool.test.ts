import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { scriptRepository, until, x } from '../testing/script-models.ts';
import { infer, ServerProcess } from '../testing/server-process.ts';

const scratch = mkdtempSync(join(tmpdir(), 'switchyard-pool-'));
after(() => rmSync(scratch, { recursive: true, force: true }));

test('an isolated model has a child process for each of its instances, and answers while one of them is killed', async () => {
  const source =
    "export const execute = ({ x }) => ({ y: { datatype: 'FP32', shape: x.shape, data: x.data.map(() => process.pid) } });\n";
  const repository = scriptRepository(scratch, {
    pids: {
      versions: { 1: source },
      config:
        'instance_group [{ count: 2 }]\nparameters { key: "switchyard.isolation" value { string_value: "process" } }',
    },
  });
  const config = join(scratch, 'switchyard.yaml');
  writeFileSync(config, 'threads: {executors: 2}\n');
  const server = await ServerProcess.start(['--config', config, '--model-repository', repository], {
    dataDir: join(scratch, 'data'),
  });
  try {
    const pids = new Set<number>();
    const ask = async (): Promise<number> => (await infer(server, 'pids', x(1))).status;
    // Requests one at a time always find the first executor idle: several at once reach both.
    const round = async (): Promise<void> => {
      const answers = await Promise.all(Array.from({ length: 32 }, () => infer(server, 'pids', x(1))));
      for (const { body } of answers) pids.add(Number(body.outputs?.[0]?.data[0]));
    };
    await until('two processes answered', async () => {
      await round();
      return pids.size === 2;
    });
    const [victim] = pids;
    process.kill(victim, 'SIGKILL');
    await until('it answers again', async () => (await ask()) === 200);
    pids.clear();
    await until('two processes answer again', async () => {
      await round();
      return [...pids].filter((pid) => pid > 0 && pid !== victim).length >= 2;
    });
  } finally {
    await server.stop();
  }
});
