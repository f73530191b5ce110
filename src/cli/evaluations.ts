import type { Command } from 'commander';
import type { ComparisonAnswer, EvaluationRow } from '../client/pipelines.ts';
import type { Output } from './io.ts';
import { type AdminFlags, positiveInteger, withAdmin } from './options.ts';
import { connectPipelines } from './pipelines.ts';
import { formatTable } from './table.ts';

export function addEvaluations(program: Command, output: Output): void {
  const evaluations = program.command('evaluations').description('look at evaluations of models');
  const print = (flags: AdminFlags, value: unknown, table: () => string): void =>
    output.out(flags.output === 'json' ? JSON.stringify(value, undefined, 2) : table());
  withAdmin(evaluations.command('list').description('list evaluations, newest first'))
    .option('--model <name>')
    .option('--model-version <version>')
    .option('--limit <count>', 'how many', positiveInteger, 20)
    .action(async (flags: AdminFlags & { model?: string; modelVersion?: string; limit: number }) => {
      const query = { model: flags.model, version: flags.modelVersion };
      const rows = await (await connectPipelines(flags)).evaluations(query, flags.limit);
      const cells = rows.map((row) => [
        row.id,
        row.model || '-',
        row.version || '-',
        String(row.result.samples),
        row.dataset_name,
        metricsOf(row),
      ]);
      print(flags, rows, () => formatTable(['evaluation', 'model', 'version', 'samples', 'dataset', 'metrics'], cells));
    });
  withAdmin(evaluations.command('get').description('show one evaluation with its slices and attribution'))
    .argument('<evaluation>')
    .action(async (id: string, flags: AdminFlags) => {
      const found = await (await connectPipelines(flags)).evaluation(id);
      print(flags, found, () => renderEvaluation(found));
    });
  withAdmin(evaluations.command('compare').description('put versions of a model side by side, on the same dataset'))
    .argument('<model>')
    .argument('[versions...]', 'default: all that were evaluated')
    .action(async (model: string, versions: string[], flags: AdminFlags) => {
      const found = await (await connectPipelines(flags)).compare(model, versions);
      print(flags, found, () => renderComparison(found));
    });
}

function metricsOf({ result }: EvaluationRow): string {
  const entries = Object.entries(result.metrics).slice(0, 3);
  return entries.map(([name, value]) => `${name} ${figure(value)}`).join(', ');
}

function renderEvaluation({ result, ...row }: EvaluationRow): string {
  const parts = [{ name: 'all', samples: result.samples, metrics: result.metrics }, ...result.slices];
  const names = Object.keys(result.metrics);
  const rows = parts.map(({ name, samples, metrics }) => [
    name,
    String(samples),
    ...names.map((metric) => figure(metrics[metric])),
  ]);
  const text = `${row.model || 'a model'} ${row.version}, ${row.dataset_name}\n${formatTable(['slice', 'samples', ...names], rows)}`;
  if (result.attribution === undefined) return text;
  const features = [...result.attribution.features].sort((a, b) => b.mean - a.mean);
  const cells = features.map(({ feature, mean, low, high }) => [
    feature,
    figure(mean),
    `${figure(low)} to ${figure(high)}`,
  ]);
  return `${text}\n\n${formatTable([`feature (${result.attribution.method})`, 'importance', '95 %'], cells)}`;
}

function renderComparison({ dataset, versions, missing, metrics }: ComparisonAnswer): string {
  if (dataset === null) return 'none of these versions was evaluated';
  const columns = ['metric', ...versions.map(({ version }) => `version ${version}`)];
  const rows = metrics.map(({ metric, slice, values, best }) => [
    slice === null ? metric : `${metric} on ${slice}`,
    ...versions.map(({ version }) => figure(values[version]) + (best === version ? ' *' : '')),
  ]);
  const samples = ['samples', ...versions.map((one) => String(one.samples))];
  const note = missing.length === 0 ? '' : `\nnot evaluated on ${dataset.name}: ${missing.join(', ')}`;
  return `${dataset.name} (* best)\n${formatTable(columns, [samples, ...rows])}${note}`;
}

function figure(value: number | null | undefined): string {
  return value === null || value === undefined ? '-' : String(Number(value.toPrecision(5)));
}
