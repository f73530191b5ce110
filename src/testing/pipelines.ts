import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Jobs } from '../training/jobs/jobs.ts';
import { Pipelines } from '../training/pipelines/pipelines.ts';
import type { FullRunView } from '../training/pipelines/view.ts';
import { RegistryUnderTest } from './registry.ts';

/** Pipelines over a registry of their own. */
export class PipelinesUnderTest {
  readonly registry: RegistryUnderTest;
  readonly folder: string;
  readonly log: { level: string; message: string; fields: object }[] = [];
  readonly routes: object[] = [];
  private current: Pipelines;
  private readonly files: string[];
  private readonly jobs: Jobs | undefined;

  private constructor(registry: RegistryUnderTest, folder: string, files: string[], jobs: Jobs | undefined) {
    this.registry = registry;
    this.folder = folder;
    this.files = files;
    this.jobs = jobs;
    this.current = this.make();
  }

  /** @param files pipeline files, relative to `folder` */
  static async open(
    files: string[] = [],
    folder = mkdtempSync(join(tmpdir(), 'pipelines-')),
    jobs?: (registry: RegistryUnderTest) => Promise<Jobs>,
  ): Promise<PipelinesUnderTest> {
    const registry = await RegistryUnderTest.open();
    return new PipelinesUnderTest(registry, folder, files, await jobs?.(registry));
  }

  get pipelines(): Pipelines {
    return this.current;
  }

  /** As a server that is started again with the same data. */
  async restart(): Promise<void> {
    await this.current.close();
    this.current = this.make();
    await this.current.start();
  }

  run(
    document: object,
    parameters: Record<string, string | number | boolean> = {},
    environment?: string,
  ): Promise<FullRunView> {
    return this.current.run({ pipeline: document, parameters, environment, actor: 'tester', reason: '' });
  }

  /** Waits until a run is over. */
  async over(id: string): Promise<FullRunView> {
    for (;;) {
      const run = await this.current.getRun(id);
      if (run.status !== 'running' && run.status !== 'cancelling') return run;
      await sleep(20);
    }
  }

  /** @param between what rests on the registry and is closed before it */
  /** What is told of the events that are queued, or were, for a webhook. */
  async queuedFor(webhookId: string): Promise<Record<string, unknown>[]> {
    const rows = await this.registry.registry.database.read((db) =>
      db.selectFrom('webhook_deliveries').select('body').where('webhook_id', '=', webhookId).execute(),
    );
    return rows.map(({ body }) => JSON.parse(body).data as Record<string, unknown>);
  }

  async close(between: () => Promise<void> = async () => {}): Promise<void> {
    await this.current.close();
    await between();
    await this.registry.close();
    rmSync(this.folder, { recursive: true, force: true });
  }

  private make(): Pipelines {
    return new Pipelines({
      config: { files: this.files, environment: 'development' },
      baseDir: this.folder,
      dataDir: join(this.registry.dataDir, 'server'),
      registry: async () => this.registry.registry,
      jobs: async () => this.jobs as Jobs,
      applyRoute: async (document) => void this.routes.push(document),
      log: (level, message, fields) => void this.log.push({ level, message, fields }),
    });
  }
}
