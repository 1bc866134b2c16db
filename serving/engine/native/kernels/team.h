// Work shared among threads, and what becomes of a fault in it: no exception may leave a piece of work, and none a library that
// is called from C; either would end the process.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <new>

// The process's one team, in a library of its own (team.cpp), whatever kernels are loaded.
extern "C" {

// Threads that work together, the caller included.
int64_t dq_team_size();

// Calls piece(work, thread, each) for each of so many pieces, in the caller, which is thread 0, and in whoever of the team has
// time, `threads` in all at most; returns when all have ended. Threads claim pieces in ascending order. The team helps one caller
// at a time: another one works alone meanwhile.
void dq_team_run(int64_t pieces, int64_t threads, void (*piece)(const void* work, int64_t thread, int64_t each), const void* work);

}  // extern "C"

namespace dqbart {

// Calls work(each, thread) for each, on so many threads at most; a fault in one is thrown again when all have ended. Calls that
// run at the same time have unlike threads, and those of a thread come in ascending order.
template <typename Work>
void in_parallel(int64_t count, int64_t threads, const Work& work) {
  if (threads < 2 || count < 2) {
    for (int64_t each = 0; each < count; ++each) work(each, 0);
    return;
  }
  // Neighbours are claimed together where there are many, but several pieces a thread, so that nobody waits long for the last.
  constexpr int64_t kPiecesEach = 8;
  struct Guarded {
    const Work& work;
    int64_t count, pieces;
    mutable std::exception_ptr fault;
    mutable std::atomic<bool> faulty{false};
  };
  const Guarded given{work, count, count < kPiecesEach * threads ? count : kPiecesEach * threads, nullptr};
  const auto piece = [](const void* address, int64_t thread, int64_t number) {
    const auto& given = *static_cast<const Guarded*>(address);
    try {
      const int64_t end = given.count * (number + 1) / given.pieces;
      for (int64_t each = given.count * number / given.pieces; each < end; ++each) given.work(each, thread);
    } catch (...) {
      if (!given.faulty.exchange(true)) given.fault = std::current_exception();
    }
  };
  dq_team_run(given.pieces, threads, piece, &given);
  if (given.fault) std::rethrow_exception(given.fault);
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
