// The threads of one call: how many, where they meet, and the memory that they work in.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "lanes.h"
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

// Threads that share work out and meet when it is done.
class Team {
  std::vector<std::atomic<int>> taken;  // of each thread's part: how much has been begun
  std::atomic<int> arrived{0}, passed{0};

 public:
  explicit Team(int threads) : taken(threads) {}

  int size() const { return (int)taken.size(); }

  // Called by all of them: work(from, to) for all of `count` pieces, by multiples of `least`; returns
  // when all are done. Every thread has a part of its own, since memory is read fastest in one long
  // stretch, and helps the others when it is through with that.
  template <class Work> void share(int count, int least, Work &&work) {
    const int part = padded((count + size() - 1) / size(), least);
    for (int i = 0, owner = thread_number(); i < size(); i++, owner = (owner + 1) % size()) {
      const int first = std::min(owner * part, count), own = std::min(part, count - first);
      for (int from, to; take(taken[owner], own, part, least, from, to);)
        work(first + from, first + to);
    }
    meet();
  }

  // The same, for each piece.
  template <class Work> void each(int count, Work &&work) {
    share(count, 1, [&](int from, int to) {
      for (int i = from; i < to; i++) work(i);
    });
  }

 private:
  // Takes what is next of a part: an eighth at first, less at the end, where others may be waiting.
  static bool take(std::atomic<int> &taken, int count, int part, int least, int &from, int &to) {
    from = taken.load(std::memory_order_relaxed);
    while (from < count) {
      const int some = std::max(1, std::min(part / 8, (count - from) / 3));
      to = std::min(from + padded(some, least), count);
      if (taken.compare_exchange_weak(from, to)) return true;
    }
    return false;
  }

  // They spin, since the wait is short; but they soon let others run, since on a busy machine it may
  // be one of us that has no processor.
  void meet() {
    const int turn = passed.load();
    if (arrived.fetch_add(1) + 1 == thread_count()) {
      for (auto &one : taken) one.store(0, std::memory_order_relaxed);
      arrived.store(0);
      passed.store(turn + 1);
      return;
    }
    for (int spins = 0; passed.load(std::memory_order_acquire) == turn; spins++)
      if (spins > 2000) std::this_thread::yield();
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
