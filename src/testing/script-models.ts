import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface ScriptModel {
  /** Version → source of its model.mjs. */
  versions: Record<string, string>;
  /** Further lines of config.pbtxt. */
  config?: string;
}

/** A repository of JavaScript models from FP32 [-1, 1] `x` to `y` in a new folder below `scratch`. */
export function scriptRepository(scratch: string, models: Record<string, ScriptModel>): string {
  const root = mkdtempSync(join(scratch, 'repository-'));
  for (const [name, { versions, config }] of Object.entries(models)) {
    mkdirSync(join(root, name));
    writeFileSync(
      join(root, name, 'config.pbtxt'),
      `backend: "javascript"\nmax_batch_size: 8\ninput [{name: "x" data_type: TYPE_FP32 dims: [1]}]\noutput [{name: "y" data_type: TYPE_FP32 dims: [1]}]\n${config ?? ''}`,
    );
    for (const [version, source] of Object.entries(versions)) addVersion(root, name, version, source);
  }
  return root;
}

export function addVersion(root: string, name: string, version: string, source: string): void {
  const staging = mkdtempSync(join(tmpdir(), 'switchyard-staging-'));
  writeFileSync(join(staging, 'model.mjs'), source);
  cpSync(staging, join(root, name, version), { recursive: true });
  rmSync(staging, { recursive: true });
}

/** A model that multiplies. */
export function times(factor: number): string {
  return `export const execute = ({ x }) => ({ y: { datatype: 'FP32', shape: x.shape, data: x.data.map((v) => v * ${factor}) } });\n`;
}

/** A model that multiplies by one after some milliseconds. */
export function sleeps(ms: number): string {
  return `export const execute = async ({ x }) => { await new Promise((r) => setTimeout(r, ${ms})); return { y: { datatype: 'FP32', shape: x.shape, data: x.data } }; };\n`;
}

/** The input of a script model. */
export function x(value: number): { name: string; shape: number[]; datatype: string; data: number[] }[] {
  return [{ name: 'x', shape: [1, 1], datatype: 'FP32', data: [value] }];
}

/** Waits for what must come to pass. The time is for a machine that has much else to do: nobody waits so long otherwise. */
export async function until(what: string, check: () => boolean | Promise<boolean>, ms = 240_000): Promise<void> {
  const end = performance.now() + ms;
  while (performance.now() < end) {
    if (await check()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  assert.fail(`not within ${ms} ms: ${what}`);
}
