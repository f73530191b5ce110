import { readdirSync } from 'node:fs';

/** The C library of this Linux, as prebuilts are told apart by it. */
function libc() {
  // musl's loader lies in /lib under this name on every distribution that is made with it.
  return readdirSync('/lib').some((name) => name.startsWith('ld-musl-')) ? 'musl' : 'glibc';
}

/** File name of the prebuilt addon of this platform: linux-x64-glibc.node, darwin-arm64.node. */
export function prebuiltName() {
  const system = `${process.platform}-${process.arch}`;
  return process.platform === 'linux' ? `${system}-${libc()}.node` : `${system}.node`;
}
