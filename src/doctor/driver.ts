/** By CUDA's major version, the first driver for Linux that runs whatever was built with it (NVIDIA's minor version compatibility). */
const OLDEST_DRIVERS: Readonly<Record<string, string>> = { 11: '450.80.02', 12: '525.60.13', 13: '580.65.06' };

/** What CUDA's libraries are named by: their major version. */
const OF_CUDA = /^lib(?:cudart|cublas|cublasLt)\.so\.(\d+)$/;

/**
 * The driver's version, '' where neither says one.
 *
 * @param kernelModule the text of /proc/driver/nvidia/version; '' = no module is loaded
 * @param library libcuda.so.1 with its links followed, '' = there is none. It may be newer than the module (NVIDIA's forward
 *   compatibility), and it is what CUDA asks
 */
export function driverVersion(kernelModule: string, library: string): string {
  const ofLibrary = /libcuda\.so\.(\d{3,}\.[\d.]*\d)$/.exec(library)?.[1];
  return ofLibrary ?? /Kernel Module.*?(\d+\.[\d.]*\d)/.exec(kernelModule)?.[1] ?? '';
}

/**
 * The major version of CUDA that a provider was built with, as the names of the libraries say that it needs; '' = they do not
 * say.
 */
export function cudaMajor(needed: readonly string[]): string {
  return needed.map((name) => OF_CUDA.exec(name)?.[1]).find((major) => major !== undefined) ?? '';
}

/** The oldest driver that does for this CUDA, where `driver` is older; '' = it does, or one of the two is not known. */
export function wantedDriver(driver: string, major: string): string {
  const oldest = OLDEST_DRIVERS[major];
  return driver === '' || oldest === undefined || isAtLeast(driver, oldest) ? '' : oldest;
}

function isAtLeast(version: string, oldest: string): boolean {
  const [parts, floor] = [version, oldest].map((text) => text.split('.').map(Number));
  for (let i = 0; i < floor.length; i++) {
    const difference = (parts[i] ?? 0) - floor[i];
    if (difference !== 0) return difference > 0;
  }
  return true;
}
