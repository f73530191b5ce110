import { join } from 'node:path';

const folder = join(import.meta.dirname, '..', '..', 'src', 'testing', 'fixtures', 'tls');

/** A certificate for localhost, its key, and the authority that signed it. */
export const TLS_FILES = {
  cert: join(folder, 'localhost.pem'),
  key: join(folder, 'localhost.key'),
  ca: join(folder, 'ca.pem'),
};
