import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import ort from 'onnxruntime-node';
import type { Timing } from './contestant.ts';
import type { Measurement } from './generators/measurement.ts';
import { inputRow, type Mlp, mlpOnnx } from './mlp-model.ts';
import type { Series } from './rounds.ts';
import { bootstrapMedian, type Estimate, pairedRatios } from './statistics.ts';
import type { Workload } from './targets/target.ts';

/** What the command line asked for. */
export interface Settings {
  quick: boolean;
  rounds: number;
  timing: Timing;
  peers: readonly string[];
  /** Folder for generated repositories, logs and request files. */
  scratch: string;
  say: (line: string) => void;
}

/** A ratio, or a plain figure, held against what the project promises. */
export interface Comparison {
  text: string;
  estimate: Estimate;
  unit: '×' | 'ms' | 's' | '%' | 'requests';
  goal?: { atLeast?: number; atMost?: number };
}

/** One table and chart of a scenario's report. */
export interface Panel {
  title: string;
  /** What `rate` counts: requests or rows. */
  counts: string;
  series: Series[];
  comparisons: Comparison[];
}

export interface ScenarioResult {
  name: string;
  description: string;
  panels: Panel[];
  notes: string[];
  /** What else was measured, as it was. */
  figures?: object;
}

export interface Scenario {
  name: string;
  description: string;
  run(settings: Settings): Promise<ScenarioResult>;
}

/** The model, one request's row and what ONNX Runtime answers for it. */
export async function makeWorkload(scratch: string, mlp: Mlp, maxBatchSize: number): Promise<Workload> {
  mkdirSync(scratch, { recursive: true });
  const bytes = mlpOnnx(mlp);
  const onnxFile = join(scratch, 'model.onnx');
  writeFileSync(onnxFile, bytes);
  const row = inputRow(mlp);
  const session = await ort.InferenceSession.create(bytes);
  const answer = await session.run({ x: new ort.Tensor('float32', row, [1, row.length]) });
  const expected = Array.from(answer.y.data as Float32Array);
  await session.release();
  return { mlp, model: mlp.name, row, expected, onnxFile, maxBatchSize, scratch };
}

export type Metric = (m: Measurement) => number;
export const rate: Metric = (m) => m.succeeded / m.seconds;

export function find(series: readonly Series[], name: string): Series | undefined {
  return series.find((s) => s.name === name);
}

/** Median of the paired ratios of two series, undefined while one of them is absent. */
export function ratioOf(
  series: readonly Series[],
  subject: string,
  reference: string,
  text: string,
  goal?: Comparison['goal'],
  metric: Metric = rate,
): Comparison[] {
  const [a, b] = [find(series, subject), find(series, reference)];
  if (a === undefined || b === undefined) return [];
  const ratios = pairedRatios(a.rounds.map(metric), b.rounds.map(metric));
  return [{ text, estimate: bootstrapMedian(ratios), unit: '×', goal }];
}

/** Median of one figure of a series over its rounds. */
export function figureOf(
  series: readonly Series[],
  name: string,
  metric: Metric,
  text: string,
  unit: Comparison['unit'],
  goal?: Comparison['goal'],
): Comparison[] {
  const values = find(series, name)?.rounds.map(metric).filter(Number.isFinite) ?? [];
  return values.length === 0 ? [] : [{ text, estimate: bootstrapMedian(values), unit, goal }];
}
