import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { routeDocumentSchema } from '../config/route-schema.ts';
import { configSchema } from '../config/schema.ts';
import { onDemandFeatureViewSchema } from '../features/documents/on-demand-schema.ts';
import { entitySchema, featureServiceSchema, featureViewSchema } from '../features/documents/schema.ts';
import { monitorSchema } from '../monitoring/document.ts';
import { jobDocumentSchema } from '../training/jobs/spec.ts';
import { environmentSchema, pipelineSchema } from '../training/pipelines/document.ts';
import { sweepDocumentSchema } from '../training/sweeps/spec.ts';
import { triggerSchema } from '../training/triggers/document.ts';

export const SCHEMA_FILE = fileURLToPath(new URL('../../config/schema.json', import.meta.url));

export const ROUTE_SCHEMA_FILE = fileURLToPath(new URL('../../config/route.schema.json', import.meta.url));

export const JOB_SCHEMA_FILE = fileURLToPath(new URL('../../config/job.schema.json', import.meta.url));

export const PIPELINE_SCHEMA_FILE = fileURLToPath(new URL('../../config/pipeline.schema.json', import.meta.url));

export const SWEEP_SCHEMA_FILE = fileURLToPath(new URL('../../config/sweep.schema.json', import.meta.url));

export const FEATURES_SCHEMA_FILE = fileURLToPath(new URL('../../config/features.schema.json', import.meta.url));
export const MONITOR_SCHEMA_FILE = fileURLToPath(new URL('../../config/monitor.schema.json', import.meta.url));

interface JsonSchema {
  properties?: Record<string, JsonSchema>;
  default?: unknown;
}

/** The JSON Schema of switchyard.yaml, for editors, as the text of config/schema.json. */
export function schemaText(): string {
  const schema = z.toJSONSchema(configSchema, { io: 'input' }) as JsonSchema;
  // Those defaults follow the number of cores, which is not the schema's to say.
  for (const threads of Object.values(schema.properties?.threads?.properties ?? {})) delete threads.default;
  return `${JSON.stringify({ ...schema, title: 'switchyard.yaml' }, undefined, 2)}\n`;
}

/** The JSON Schema of one document of a route file, as the text of config/route.schema.json. */
export function routeSchemaText(): string {
  const schema = z.toJSONSchema(routeDocumentSchema, { io: 'input' });
  return `${JSON.stringify({ ...schema, title: 'Switchyard route file' }, undefined, 2)}\n`;
}

/** The JSON Schema of one document of a job file, as the text of config/job.schema.json. */
export function jobSchemaText(): string {
  const schema = z.toJSONSchema(jobDocumentSchema, { io: 'input' });
  return `${JSON.stringify({ ...schema, title: 'Switchyard job file' }, undefined, 2)}\n`;
}

/** The JSON Schema of one document of a pipeline file, as the text of config/pipeline.schema.json. */
export function pipelineSchemaText(): string {
  return anyOfText('Switchyard pipeline file', [pipelineSchema, environmentSchema, triggerSchema]);
}

/** The JSON Schema of one document of a feature file, as the text of config/features.schema.json. */
export function featuresSchemaText(): string {
  return anyOfText('Switchyard feature file', [
    entitySchema,
    featureViewSchema,
    onDemandFeatureViewSchema,
    featureServiceSchema,
  ]);
}

function anyOfText(title: string, kinds: readonly z.ZodType[]): string {
  const anyOf = kinds.map((kind) => {
    const { $schema: _, ...schema } = z.toJSONSchema(kind, { io: 'input' }) as Record<string, unknown>;
    return schema;
  });
  const head = { $schema: 'https://json-schema.org/draft/2020-12/schema', title };
  return `${JSON.stringify({ ...head, anyOf }, undefined, 2)}\n`;
}

/** The JSON Schema of one document of a monitor file, as the text of config/monitor.schema.json. */
export function monitorSchemaText(): string {
  const schema = z.toJSONSchema(monitorSchema, { io: 'input' });
  return `${JSON.stringify({ ...schema, title: 'Switchyard monitor file' }, undefined, 2)}\n`;
}

/** The JSON Schema of a sweep file, as the text of config/sweep.schema.json. */
export function sweepSchemaText(): string {
  const schema = z.toJSONSchema(sweepDocumentSchema, { io: 'input' });
  return `${JSON.stringify({ ...schema, title: 'Switchyard sweep file' }, undefined, 2)}\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(SCHEMA_FILE, schemaText());
  writeFileSync(ROUTE_SCHEMA_FILE, routeSchemaText());
  writeFileSync(JOB_SCHEMA_FILE, jobSchemaText());
  writeFileSync(PIPELINE_SCHEMA_FILE, pipelineSchemaText());
  writeFileSync(SWEEP_SCHEMA_FILE, sweepSchemaText());
  writeFileSync(FEATURES_SCHEMA_FILE, featuresSchemaText());
  writeFileSync(MONITOR_SCHEMA_FILE, monitorSchemaText());
}
