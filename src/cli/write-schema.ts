import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { configSchema } from '../config/schema.ts';

export const SCHEMA_FILE = fileURLToPath(new URL('../../config/schema.json', import.meta.url));

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

if (process.argv[1] === fileURLToPath(import.meta.url)) writeFileSync(SCHEMA_FILE, schemaText());
