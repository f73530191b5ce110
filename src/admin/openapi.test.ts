import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openApiDocument } from './openapi.ts';
import { ADMIN_ROUTES } from './routes.ts';

interface Operation {
  operationId: string;
  summary: string;
  security: Record<string, unknown>[];
  parameters: { name: string; in: string; required?: boolean; schema: Record<string, unknown> }[];
  requestBody?: { required: boolean; content: Record<string, { schema: unknown }> };
  responses: Record<string, { description: string; content: Record<string, { schema: Record<string, unknown> }> }>;
}

const document = openApiDocument(ADMIN_ROUTES, '1.2.3') as {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, unknown>; securitySchemes: Record<string, unknown> };
};
const operations = Object.entries(document.paths).flatMap(([path, verbs]) =>
  Object.entries(verbs).map(([verb, operation]) => ({ path, verb, operation })),
);

test('the document is JSON and says what it is', () => {
  assert.deepEqual(JSON.parse(JSON.stringify(document)), document);
  assert.match(document.openapi, /^3\.1\.\d+$/);
  assert.equal(document.info.version, '1.2.3');
});

test('every route of the table is an operation, and nothing else is', () => {
  assert.deepEqual(
    operations.map(({ path, verb }) => `${verb.toUpperCase()} ${path}`).sort(),
    ADMIN_ROUTES.map((route) => `${route.method} ${route.path}`).sort(),
  );
  const ids = operations.map(({ operation }) => operation.operationId);
  assert.equal(new Set(ids).size, ids.length);
});

test('operations have the parts OpenAPI asks for', () => {
  for (const { path, operation } of operations) {
    assert.ok(operation.summary.length > 0, path);
    const inPath = operation.parameters.filter((parameter) => parameter.in === 'path');
    assert.deepEqual(
      inPath.map((parameter) => `{${parameter.name}}`),
      path.match(/\{\w+\}/g) ?? [],
    );
    assert.ok(inPath.every((parameter) => parameter.required === true));
    for (const parameter of operation.parameters) assert.equal(typeof parameter.schema.type, 'string', parameter.name);
    assert.ok('200' in operation.responses);
    for (const [status, response] of Object.entries(operation.responses)) {
      assert.match(status, /^[2-5]\d\d$/);
      assert.ok(response.description.length > 0);
      for (const { schema } of Object.values(response.content)) assert.ok('type' in schema || '$ref' in schema);
    }
    for (const requirement of operation.security)
      for (const name of Object.keys(requirement)) assert.ok(name in document.components.securitySchemes);
  }
});

test('references lead somewhere', () => {
  const text = JSON.stringify(document);
  for (const [, name] of text.matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g))
    assert.ok(name in document.components.schemas, name);
});

test('only the probes are open to everyone', () => {
  const open = operations.filter(({ operation }) => operation.security.length === 0).map(({ path }) => path);
  assert.deepEqual(open, ['/health/live', '/health/ready']);
});
