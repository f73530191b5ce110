import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { native, nativeProblem } from '../tensor/native.ts';
import { type Check, check, reasonOf } from './check.ts';

/** Node, the addon, the compiler that builds it, and the two native packages. Loads each of them. */
export async function checkProgram(environment: NodeJS.ProcessEnv = process.env): Promise<Check[]> {
  return [
    checkNode(process.versions.node),
    checkAddon(environment),
    checkCompiler(environment.CXX || 'c++', native !== undefined),
    await checkHttp(environment),
    await checkOnnxRuntime(),
  ];
}

export function checkNode(version: string): Check {
  const [major, minor] = version.split('.').map(Number);
  const fits = major > 20 || (major === 20 && minor >= 19);
  return check('program', 'node', fits ? 'ok' : 'failed', version, fits ? '' : 'install Node 20.19 or later');
}

function checkAddon(environment: NodeJS.ProcessEnv): Check {
  if (native !== undefined) return check('program', 'addon', 'ok', `loaded, interface ${native.interface}`);
  if (environment.SWITCHYARD_NATIVE === 'off')
    return check('program', 'addon', 'warning', 'switched off by SWITCHYARD_NATIVE=off', 'unset SWITCHYARD_NATIVE');
  const reason = /\((.*?)\);/.exec(nativeProblem)?.[1] ?? nativeProblem;
  return check('program', 'addon', 'warning', reason, 'npm run build:native, or a prebuilt (docs/install.md)');
}

export function checkCompiler(compiler: string, built: boolean): Check {
  const { stdout, status, error } = spawnSync(compiler, ['--version'], { encoding: 'utf8' });
  if (status === 0) return check('program', 'compiler', 'ok', `${compiler}: ${stdout.split('\n')[0]}`);
  const found = `${compiler} ${error === undefined ? 'fails' : `cannot be run (${reasonOf(error)})`}`;
  const remedy = 'install g++ 11 or clang 14 or later (Debian: apt-get install g++), or name one in CXX';
  return check('program', 'compiler', built ? 'missing' : 'warning', found, remedy);
}

async function checkHttp(environment: NodeJS.ProcessEnv): Promise<Check> {
  const { chooseLibrary, httpLibrary } = await import('../server/http/open.ts');
  const of = (status: Check['status'], found: string, remedy?: string) =>
    check('program', 'HTTP library', status, found, remedy);
  try {
    const wanted = httpLibrary(environment.SWITCHYARD_HTTP);
    let lacking = '';
    const chosen = await chooseLibrary(wanted, undefined, (reason) => {
      lacking = ` (uWebSockets.js: ${reasonOf(reason)})`;
    });
    if (chosen === 'native') return of('ok', 'the addon serves HTTP');
    if (wanted !== 'auto')
      return of('warning', `SWITCHYARD_HTTP=${wanted} leaves the addon out`, 'unset SWITCHYARD_HTTP');
    const remedy = 'build the addon (docs/install.md#native-codecs)';
    if (chosen === 'uws') return of('warning', 'uWebSockets.js serves HTTP; the addon is faster', remedy);
    return of('warning', `node:http serves HTTP, on one gateway thread${lacking}`, remedy);
  } catch (error) {
    return of('missing', reasonOf(error), 'unset SWITCHYARD_HTTP');
  }
}

async function checkOnnxRuntime(): Promise<Check> {
  try {
    const require = createRequire(import.meta.url);
    const file = require.resolve('onnxruntime-node/package.json');
    const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string };
    await import('onnxruntime-node/dist/binding.js');
    return check('program', 'ONNX Runtime', 'ok', `onnxruntime-node ${version}, its library loads`);
  } catch (error) {
    const remedy = 'npm ci; on musl (Alpine) use the container image, since its library needs glibc';
    return check('program', 'ONNX Runtime', 'failed', reasonOf(error), remedy);
  }
}
