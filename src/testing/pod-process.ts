import { spawn } from 'node:child_process';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { CoreV1Api, V1Pod } from '@kubernetes/client-node';

/**
 * Runs what the first container of a pod would run, as a process of this machine: kwok's nodes play containers and start
 * none. Folders of the container lie below `root`, volume claims below `claims`. Resolves with its exit code and output.
 */
export async function runPod(
  core: CoreV1Api,
  pod: V1Pod,
  { root, claims }: { root: string; claims: string },
): Promise<{ exitCode: number; output: string }> {
  const namespace = pod.metadata?.namespace ?? '';
  const [container] = pod.spec?.containers ?? [];
  const env: Record<string, string> = { PATH: process.env.PATH ?? '' };
  for (const { secretRef } of container.envFrom ?? []) {
    const { data = {} } = await core.readNamespacedSecret({ name: secretRef?.name ?? '', namespace });
    for (const [name, value] of Object.entries(data)) env[name] = Buffer.from(value, 'base64').toString();
  }
  const kept: { from: string; to: string }[] = [];
  for (const { name, mountPath, subPath = '' } of container.volumeMounts ?? []) {
    const volume = pod.spec?.volumes?.find((one) => one.name === name);
    const place = join(root, mountPath);
    if (volume?.configMap !== undefined) {
      const { data = {} } = await core.readNamespacedConfigMap({ name: volume.configMap.name ?? '', namespace });
      for (const [key, text] of Object.entries(data)) {
        if (subPath !== '' && key !== subPath) continue;
        const file = subPath === '' ? join(place, key) : place;
        mkdirSync(dirname(file), { recursive: true });
        writeFileSync(file, text);
      }
    } else mkdirSync(place, { recursive: true });
    if (volume?.persistentVolumeClaim === undefined) continue;
    const claim = join(claims, volume.persistentVolumeClaim.claimName, subPath);
    mkdirSync(claim, { recursive: true });
    cpSync(claim, place, { recursive: true });
    kept.push({ from: place, to: claim });
  }
  const inRoot = (word: string): string => word.replaceAll('/switchyard/', `${join(root, 'switchyard')}/`);
  const [program, ...args] = [...(container.command ?? []), ...(container.args ?? [])].map(inRoot);
  const child = spawn(program, args, { cwd: join(root, container.workingDir ?? '/'), env, stdio: 'pipe' });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code ?? 137));
  });
  for (const { from, to } of kept) cpSync(from, to, { recursive: true });
  return { exitCode, output };
}
