/** Which cores the threads of the process use, by the kernel's numbers. No core is in two of the three. */
export interface CorePlan {
  /** Of each compute executor, one. */
  executors: number[];
  /** For the threads that runs of all ONNX models share besides their executors; none where there are no such threads. */
  runs: number[];
  /** For all other threads. */
  shared: number[];
}

/**
 * A core for each executor and for each further thread of a run, from the last one down: the first ones have the most to do
 * for the kernel. What is left, one core at least, is shared by all other threads; undefined: there are too few.
 * @param usable cores that the process may use, ascending
 * @param runThreads those of one run, its executor counted in
 */
export function planCores(usable: readonly number[], executors: number, runThreads: number): CorePlan | undefined {
  const shared = usable.length - executors - (runThreads - 1);
  if (shared < 1) return undefined;
  const own = usable.length - executors;
  return { shared: usable.slice(0, shared), runs: usable.slice(shared, own), executors: usable.slice(own) };
}
