import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import {
  FEATURES_SCHEMA_FILE,
  featuresSchemaText,
  JOB_SCHEMA_FILE,
  jobSchemaText,
  MONITOR_SCHEMA_FILE,
  monitorSchemaText,
  PIPELINE_SCHEMA_FILE,
  pipelineSchemaText,
  ROUTE_SCHEMA_FILE,
  routeSchemaText,
  SCHEMA_FILE,
  SWEEP_SCHEMA_FILE,
  schemaText,
  sweepSchemaText,
} from './write-schema.ts';

test('config/schema.json is current; write it with: npm run schema', () => {
  assert.equal(readFileSync(SCHEMA_FILE, 'utf8'), schemaText());
});

test('config/route.schema.json is current; write it with: npm run schema', () => {
  assert.equal(readFileSync(ROUTE_SCHEMA_FILE, 'utf8'), routeSchemaText());
});

test('config/job.schema.json is current; write it with: npm run schema', () => {
  assert.equal(readFileSync(JOB_SCHEMA_FILE, 'utf8'), jobSchemaText());
});

test('config/pipeline.schema.json is current; write it with: npm run schema', () => {
  assert.equal(readFileSync(PIPELINE_SCHEMA_FILE, 'utf8'), pipelineSchemaText());
});

test('config/monitor.schema.json is current; write it with: npm run schema', () => {
  assert.equal(readFileSync(MONITOR_SCHEMA_FILE, 'utf8'), monitorSchemaText());
});

test('config/sweep.schema.json is current; write it with: npm run schema', () => {
  assert.equal(readFileSync(SWEEP_SCHEMA_FILE, 'utf8'), sweepSchemaText());
});

test('config/features.schema.json is current; write it with: npm run schema', () => {
  assert.equal(readFileSync(FEATURES_SCHEMA_FILE, 'utf8'), featuresSchemaText());
});

test('the schema does not depend on the machine that wrote it', () => {
  const { properties } = JSON.parse(schemaText()) as {
    properties: Record<string, { properties: Record<string, object> }>;
  };
  for (const setting of Object.values(properties.threads.properties)) assert.equal('default' in setting, false);
});
