// The threads that kernels share their work with: one team in a process, which nobody waits for.
//
// A team that meets at barriers is as slow as its slowest member: on a machine that others keep busy, a member waits for a core
// for milliseconds, and all wait for it. Here the caller publishes a job and claims its pieces one after another, as whoever of
// the helpers is awake does; it then waits for pieces that are in progress, and for no helper that has not begun. Helpers look
// for the next job for a moment, and then sleep.
//
// A helper can still be made to wait in the middle of a piece, and the caller by its helpers. So what helping brings is measured,
// job by job: the time that all pieces would have taken the caller, less the time that the job took. Where that falls below
// nothing, half of the helpers are left out for a while, longer each time, and then tried again.
//
// Memory is never freed and threads never end, so that neither the end of the process nor the unloading of a library can meet
// one at work; the library stays loaded (pyproject.toml). A child of fork() begins with a team of its own.
#include "team.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <algorithm>
#include <chrono>

namespace {

using Piece = void (*)(const void*, int64_t, int64_t);

constexpr int64_t kMostThreads = 256;
constexpr uint32_t kOpen = 1u << 31;

// Nanoseconds.
constexpr int64_t kLookout = 50'000;           // that a helper looks for the next job, the gap between two of a step
constexpr int64_t kLinger = 2'000'000;         // that it then stays for if nobody else wants its core, before it sleeps
constexpr int64_t kPatience = 20'000;          // that the caller looks for the end of pieces in progress before it sleeps
constexpr int64_t kCredit = 1'000'000;         // what helpers may cost when they are tried: they sleep, and wake in some 50,000
constexpr int64_t kMostCredit = 3'000'000;     // what helpers that helped may cost, about one time slice, before they are left out
constexpr int64_t kFirstPause = 10'000'000;    // how long that is, twice as long each time
constexpr int64_t kLongestPause = 640'000'000;
constexpr int64_t kProof = 30'000'000;         // what they gain without a loss of that kind until it is forgotten

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Whether `done` within so many nanoseconds.
template <typename Done>
bool look_for(const Done& done, int64_t nanoseconds) {
  for (int64_t end = 0;;) {
    for (int look = 0; look < 32; ++look) {
      if (done()) return true;
      _mm_pause();
    }
    const int64_t at = now();
    if (end == 0) end = at + nanoseconds;
    if (at >= end) return false;
  }
}

// The same, while whoever else wants the core has it. Who sleeps is woken late, and perhaps on the core of the one who calls.
template <typename Done>
bool linger_for(const Done& done, int64_t nanoseconds) {
  for (const int64_t end = now() + nanoseconds; now() < end; sched_yield()) {
    if (done()) return true;
  }
  return false;
}

struct alignas(128) Call {
  std::atomic<uint32_t> jobs{0};  // that this helper was called for
};

struct Team {
  // Written while the gate is closed and nobody is inside.
  Piece piece = nullptr;
  const void* work = nullptr;
  int64_t pieces = 0;
  int64_t called = 0;  // helpers of the job

  alignas(128) std::atomic<uint32_t> gate{0};  // helpers inside, and whether more may come in
  alignas(128) std::atomic<int64_t> next{0};   // piece to be claimed
  alignas(128) std::atomic<int64_t> size{1};
  std::atomic<bool> busy{false};

  // Of the caller that keeps the team busy.
  int64_t helpers = 0;                // threads that there are
  int64_t trusted = kMostThreads;     // those that may be called
  int64_t credit = kCredit, gained = 0, pause = kFirstPause, paused_until = 0;
  Call calls[kMostThreads];
};

Team* team = new Team();

// Claims pieces as long as there are any.
void claim(Team& team, int64_t thread) {
  for (int64_t each; (each = team.next.fetch_add(1, std::memory_order_relaxed)) < team.pieces;) {
    team.piece(team.work, thread, each);
  }
}

// The same in the caller; about how long it would have taken for all pieces. The longest is left out of that: in one of them, the
// caller may have waited for a core.
int64_t claim_and_time(Team& team, int64_t began) {
  int64_t done = 0, longest = 0, at = began;
  for (int64_t each; (each = team.next.fetch_add(1, std::memory_order_relaxed)) < team.pieces; ++done) {
    team.piece(team.work, 0, each);
    const int64_t ended = now();
    longest = std::max(longest, ended - at);
    at = ended;
  }
  return done < 2 ? longest * team.pieces : (at - began - longest) * team.pieces / (done - 1);
}

bool enter(Team& team) {
  uint32_t gate = team.gate.load(std::memory_order_relaxed);
  while (gate & kOpen) {
    if (team.gate.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
  }
  return false;
}

void help(Team& team, int64_t thread) {
  std::atomic<uint32_t>& jobs = team.calls[thread].jobs;
  for (uint32_t seen = 0;;) {
    const auto called = [&] { return jobs.load(std::memory_order_relaxed) != seen; };
    if (!look_for(called, kLookout) && !linger_for(called, kLinger)) jobs.wait(seen);
    seen = jobs.load(std::memory_order_acquire);
    if (!enter(team)) continue;
    // The job may be a later one, which may have called fewer.
    if (thread <= team.called) claim(team, thread);
    if (team.gate.fetch_sub(1, std::memory_order_acq_rel) == 1) team.gate.notify_one();
  }
}

void* begin(void* thread) {
  help(*team, reinterpret_cast<int64_t>(thread));
  return nullptr;
}

// Starts helpers up to so many; as many as there can be. They take no signals.
void start_helpers(Team& team, int64_t wanted) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  for (pthread_t thread; team.helpers < wanted; ++team.helpers) {
    if (pthread_create(&thread, &attributes, begin, reinterpret_cast<void*>(team.helpers + 1)) != 0) break;
    pthread_setname_np(thread, "dqbart-team");
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// How many helpers a job calls.
int64_t helpers_for(Team& team, int64_t pieces, int64_t threads, int64_t at) {
  const int64_t most = std::min(threads, pieces) - 1;
  if (team.trusted < most && at >= team.paused_until) {
    team.trusted = std::max<int64_t>(1, 2 * team.trusted);
    team.paused_until = at + team.pause;
  }
  const int64_t wanted = std::min(most, team.trusted);
  if (team.helpers < wanted) start_helpers(team, wanted);
  return std::min(wanted, team.helpers);
}

// Trusts helpers by what calling them has gained.
void judge(Team& team, int64_t called, int64_t gain, int64_t at) {
  team.credit = std::min(team.credit + gain, kMostCredit);
  team.gained += gain;
  if (team.gained > kProof) team.pause = kFirstPause;
  if (team.credit >= 0) return;
  team.credit = kCredit;
  team.gained = 0;
  team.trusted = called / 2;
  team.paused_until = at + team.pause;
  team.pause = std::min(2 * team.pause, kLongestPause);
}

void run(Team& team, int64_t pieces, int64_t threads, Piece piece, const void* work) {
  const int64_t began = now();
  const int64_t called = helpers_for(team, pieces, threads, began);
  team.piece = piece, team.work = work, team.pieces = pieces, team.called = called;
  team.next.store(0, std::memory_order_relaxed);
  if (called == 0) return claim(team, 0);
  team.gate.store(kOpen, std::memory_order_release);
  for (int64_t helper = 1; helper <= called; ++helper) {
    team.calls[helper].jobs.fetch_add(1, std::memory_order_release);
    team.calls[helper].jobs.notify_one();
  }
  const int64_t alone = claim_and_time(team, now());
  team.gate.fetch_and(~kOpen, std::memory_order_acq_rel);
  const auto left = [&] { return team.gate.load(std::memory_order_acquire) == 0; };
  if (!look_for(left, kPatience)) {
    for (uint32_t inside; (inside = team.gate.load(std::memory_order_acquire)) != 0;) team.gate.wait(inside);
  }
  const int64_t ended = now();
  judge(team, called, alone - (ended - began), ended);
}

// In the child of a fork there are no helpers, and the team may be in any state.
void begin_again() {
  const int64_t size = team->size.load();
  team = new Team();
  team->size.store(size);
}

const int at_fork = pthread_atfork(nullptr, nullptr, begin_again);

}  // namespace

extern "C" {

int64_t dq_team_size() { return team->size.load(std::memory_order_relaxed); }

// From the next job on.
void dq_team_resize(int64_t threads) { team->size.store(std::clamp<int64_t>(threads, 1, kMostThreads)); }

void dq_team_run(int64_t pieces, int64_t threads, Piece piece, const void* work) {
  Team& ours = *team;
  if (threads < 2 || ours.busy.exchange(true, std::memory_order_acquire)) {
    for (int64_t each = 0; each < pieces; ++each) piece(work, 0, each);
    return;
  }
  run(ours, pieces, std::min(threads, kMostThreads), piece, work);
  ours.busy.store(false, std::memory_order_release);
}

}  // extern "C"
