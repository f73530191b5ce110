import { z } from 'zod';

/** TLS to a server: whom to trust, and who to be. Paths are relative to the configuration file. */
export const sslSchema = z
  .strictObject({
    caFile: z.string().optional().describe("PEM authorities; absent: the system's"),
    certFile: z.string().optional().describe('PEM client certificate'),
    keyFile: z.string().optional().describe('PEM key of the client certificate'),
    serverName: z.string().optional().describe('Name the certificate must have, if it is not the host of the address'),
  })
  .refine((s) => (s.certFile === undefined) === (s.keyFile === undefined), 'give certFile and keyFile, or neither');

export type SslConfig = z.output<typeof sslSchema>;
