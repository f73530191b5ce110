import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const INFO = 'Metadata-Version: 2.1\nName: tiny-sy\nVersion: 1.0\n';
const WHEEL = 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n';
const SCRIPT = `
import sys, zipfile
files = {
  'tiny_sy.py': 'def main():\\n    print("tiny at work")\\n',
  'tiny_sy-1.0.dist-info/METADATA': ${JSON.stringify(INFO)},
  'tiny_sy-1.0.dist-info/WHEEL': ${JSON.stringify(WHEEL)},
  'tiny_sy-1.0.dist-info/entry_points.txt': '[console_scripts]\\ntiny-sy = tiny_sy:main\\n',
}
record = ''.join(name + ',,\\n' for name in files) + 'tiny_sy-1.0.dist-info/RECORD,,\\n'
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
  for name, text in {**files, 'tiny_sy-1.0.dist-info/RECORD': record}.items():
    wheel.writestr(name, text)
`;

/** Makes a folder a package index with one package, tiny-sy 1.0 and its program tiny-sy: no test needs a network. */
export function tinyWheel(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const script = join(folder, 'make.py');
  writeFileSync(script, SCRIPT);
  execFileSync('python3', [script, join(folder, 'tiny_sy-1.0-py3-none-any.whl')]);
}
