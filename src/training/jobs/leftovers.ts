import { readdir } from 'node:fs/promises';
import type { Runner } from '../runners/runner.ts';
import type { DriverParts } from './driver.ts';
import { isActive, isOver } from './state.ts';

export interface LeftoversParts extends Pick<DriverParts, 'serverId' | 'store' | 'environments' | 'folder' | 'config'> {
  /** Of processes on this machine. */
  runner: Runner;
}

const COLLECT_MS = 3_600_000;

/** What attempts leave on this machine: processes of jobs that were lost meanwhile, folders, environments. */
export class Leftovers {
  private readonly parts: LeftoversParts;
  private collectedAt = Number.NEGATIVE_INFINITY;

  constructor(parts: LeftoversParts) {
    this.parts = parts;
  }

  /** Ends local attempts that belong to no job of this server: it lost them while it was away. */
  async endStrays(): Promise<void> {
    for (const { name, id, attempt } of await this.attemptFolders()) {
      const job = await this.parts.store.get(id);
      const ours = job?.owner === this.parts.serverId && job.state.attempt === attempt && isActive(job.state.status);
      if (ours) continue;
      const runner = this.parts.runner;
      const status = await runner.status(name);
      if (status?.phase === 'running' || status?.phase === 'starting') await runner.cancel(name, 0);
    }
  }

  private async attemptFolders(): Promise<{ name: string; id: string; attempt: number }[]> {
    const names = await readdir(this.parts.folder).catch(() => []);
    return names.flatMap((name) => {
      const [, id, attempt] = /^sy-([a-z0-9]+)-(\d+)$/.exec(name) ?? [];
      return id === undefined ? [] : [{ name, id, attempt: Number(attempt) }];
    });
  }

  /** Removes folders of jobs that ended long ago or are forgotten, and environments that nobody uses. */
  async collect(): Promise<void> {
    const now = Date.now();
    if (performance.now() - this.collectedAt < COLLECT_MS) return;
    this.collectedAt = performance.now();
    for (const { name, id } of await this.attemptFolders()) {
      const job = await this.parts.store.get(id);
      const endedAt = job === undefined ? 0 : isOver(job.state.status) ? (job.state.endedAt ?? now) : now;
      if (now - endedAt > this.parts.config.keepHours * 3_600_000) await this.parts.runner.remove(name);
    }
    await this.parts.environments.collect(now);
  }
}
