#pragma once

#include <vector>

namespace switchyard {

/** Cores that the calling thread may use, by the kernel's numbers, ascending; a cpuset leaves some out. None but on Linux. */
std::vector<int> usableCores();

/**
 * From now on this thread of the process (0: the calling one) runs on these cores only, and so does every thread that it
 * starts. False where the kernel refuses, where there is no such thread, and but on Linux.
 */
bool useCores(int thread, const std::vector<int>& cores);

/** Processes that this one forks from now on, on whichever thread, start with these cores. False where that cannot be. */
bool giveChildrenCores(const std::vector<int>& cores);

}  // namespace switchyard
