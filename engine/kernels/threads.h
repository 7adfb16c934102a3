// The threads of one call: how many, where they meet, and the memory that they work in.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>
#if defined(_OPENMP)
extern "C" int omp_get_thread_num();
extern "C" int omp_get_num_threads();
#endif

static inline int thread_number() {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

static inline int thread_count() {
#if defined(_OPENMP)
  return omp_get_num_threads();
#else
  return 1;
#endif
}

// Where threads wait for each other. They spin, since the wait is short; but they soon let others
// run, since on a busy machine it may be one of us that has no processor.
class Meeting {
  std::atomic<int> arrived{0}, passed{0};

 public:
  void wait() {
    const int count = thread_count(), turn = passed.load();
    if (arrived.fetch_add(1) + 1 == count) {
      arrived.store(0);
      passed.store(turn + 1);
      return;
    }
    for (int spins = 0; passed.load(std::memory_order_acquire) == turn; spins++)
      if (spins > 2000) std::this_thread::yield();
  }
};

// Threads that share pieces of work out.
struct Team {
  int threads;
  Meeting meeting{};

  // Called by all of them with the same counter, which is at 0: returns when all pieces are done.
  template <class Work> void each(std::atomic<int> &next, int count, Work &&work) {
    const int share = std::max(1, count / (threads * 4));
    for (int from; (from = next.fetch_add(share)) < count;)
      for (int i = from; i < std::min(from + share, count); i++) work(i);
    meeting.wait();
  }
};

// Memory of a calling thread that is kept from call to call.
class Workspace {
  std::vector<char> memory;
  size_t used = 0;

 public:
  void reserve(size_t bytes) {
    if (memory.size() < bytes) memory.resize(bytes);
    used = 0;
  }

  template <class T> T *take(size_t count) {
    T *found = (T *)(((uintptr_t)memory.data() + used + 63) / 64 * 64);
    used = (char *)(found + count) - memory.data();
    return found;
  }
};

static thread_local Workspace workspace;
