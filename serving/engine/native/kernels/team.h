// Work shared among threads, and what becomes of a fault in it: no exception may leave a parallel region, and none a library
// that is called from C; either would end the process.
#pragma once

#include <omp.h>

#include <cstdint>
#include <exception>
#include <new>

namespace dqbart {

// Calls work(each) for each, on a team of threads; a fault in one is thrown again when all have ended.
template <typename Work>
void in_parallel(int64_t count, int64_t team, const Work& work) {
  std::exception_ptr fault;
#pragma omp parallel for num_threads(team) if (team > 1) schedule(dynamic)
  for (int64_t each = 0; each < count; ++each) {
    try {
      work(each);
    } catch (...) {
#pragma omp critical(dq_fault)
      fault = std::current_exception();
    }
  }
  if (fault) std::rethrow_exception(fault);
}

constexpr int32_t kDone = 0, kNoMemory = 1;  // what kernels answer; library.py raises MemoryError

template <typename Kernel>
int32_t answer_of(const Kernel& kernel) {
  try {
    kernel();
    return kDone;
  } catch (const std::bad_alloc&) {
    return kNoMemory;
  }
}

}  // namespace dqbart
