// The threads of one call: how they share work, wait for each other, and allocate memory.
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

// Threads that share work, and wait for each other at its end.
class Team {
  std::vector<std::atomic<int>> progress;  // of each thread's part: the items already claimed
  std::atomic<int> arrived{0}, phase{0};

 public:
  explicit Team(int threads) : progress(threads) {}

  int size() const { return (int)progress.size(); }

  // Must be called by all threads. Calls work(from, to) for ranges that together cover `count` items,
  // whose lengths are multiples of `step`, and returns when all items are done. Every thread has a
  // part of its own, since memory is read fastest in one long stretch. A thread that has finished
  // its part helps the others.
  template <class Work> void share(int count, int step, Work &&work) {
    const int part = padded((count + size() - 1) / size(), step);
    for (int i = 0, owner = thread_number(); i < size(); i++, owner = (owner + 1) % size()) {
      const int first = std::min(owner * part, count), own = std::min(part, count - first);
      for (int from, to; claim(progress[owner], own, part, step, from, to);)
        work(first + from, first + to);
    }
    wait_for_all();
  }

  // The same with one call of work(i) for each item.
  template <class Work> void for_each(int count, Work &&work) {
    share(count, 1, [&](int from, int to) {
      for (int i = from; i < to; i++) work(i);
    });
  }

 private:
  // Claims the next range of a part: an eighth of the part at first, less at the end, where other
  // threads may be waiting.
  static bool claim(std::atomic<int> &progress, int count, int part, int step, int &from, int &to) {
    from = progress.load(std::memory_order_relaxed);
    while (from < count) {
      const int length = std::max(1, std::min(part / 8, (count - from) / 3));
      to = std::min(from + padded(length, step), count);
      if (progress.compare_exchange_weak(from, to)) return true;
    }
    return false;
  }

  // Threads spin, since the wait is short, but soon yield: on a busy machine the awaited thread may
  // be the one without a processor.
  void wait_for_all() {
    const int current = phase.load();
    if (arrived.fetch_add(1) + 1 == thread_count()) {
      for (auto &counter : progress) counter.store(0, std::memory_order_relaxed);
      arrived.store(0);
      phase.store(current + 1);
      return;
    }
    for (int spins = 0; phase.load(std::memory_order_acquire) == current; spins++)
      if (spins > 2000) std::this_thread::yield();
  }
};

// Working memory of a calling thread, kept between calls.
class Workspace {
  std::vector<char> memory;
  size_t used = 0;

 public:
  void reserve(size_t bytes) {
    if (memory.size() < bytes) memory.resize(bytes);
    used = 0;
  }

  template <class T> T *allocate(size_t count) {
    T *block = (T *)(((uintptr_t)memory.data() + used + 63) / 64 * 64);
    used = (char *)(block + count) - memory.data();
    return block;
  }
};

static thread_local Workspace workspace;
