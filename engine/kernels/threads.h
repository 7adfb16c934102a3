// The threads of one call: how they share work, wait for each other, and allocate memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "lanes.h"
#if defined(_OPENMP)
extern "C" int omp_get_thread_num();
#endif

static inline int thread_number() {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// Lets the other hardware thread of this core run.
static inline void pause_spinning() {
#if defined(__SSE2__)
  _mm_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// Threads that share work. Each must call the same methods in the same order.
//
// A thread waits for work that others have begun, never for threads that have not: on a busy machine
// those may not run for a long time. It finds its work done when it comes, and goes on.
class Team {
  // On a cache line of its own, since it is written often.
  struct alignas(64) Counter {
    std::atomic<uint64_t> value{0};
  };
  // The work before a thread's current call: the sum of the lengths of a part, and of the items.
  struct alignas(64) Past {
    uint64_t part = 0, items = 0;
  };
  std::vector<Counter> claimed;  // of each thread's part, in all calls
  Counter done;                  // items, in all calls
  std::vector<Past> past;        // of each thread

 public:
  explicit Team(int threads) : claimed(threads), past(threads) {}

  int size() const { return (int)claimed.size(); }

  // Calls work(from, to) for ranges that together cover `count` items, whose lengths are multiples of
  // `step`, and returns when all items are done. Every thread has a part of its own, since memory is
  // read fastest in one long stretch. A thread that has finished its part helps the others.
  template <class Work> void share(int count, int step, Work &&work) {
    const int part = padded((count + size() - 1) / size(), step);
    Past &before = past[thread_number()];
    for (int i = 0, owner = thread_number(); i < size(); i++, owner = (owner + 1) % size()) {
      const int first = std::min(owner * part, count), own = std::min(part, count - first);
      for (int from, to; claim(claimed[owner].value, before.part, own, part, step, from, to);) {
        work(first + from, first + to);
        done.value.fetch_add(to - from, std::memory_order_release);
      }
    }
    before.part += part;
    before.items += count;
    wait_for_items(before.items);
  }

  // The same with one call of work(i) for each item.
  template <class Work> void for_each(int count, Work &&work) {
    share(count, 1, [&](int from, int to) {
      for (int i = from; i < to; i++) work(i);
    });
  }

 private:
  // Claims the next range of a part of `count` items: an eighth of the part at first, less at the end,
  // where other threads may be waiting. `before` was claimed in earlier calls.
  static bool claim(std::atomic<uint64_t> &claimed, uint64_t before, int count, int part, int step,
                    int &from, int &to) {
    uint64_t value = claimed.load(std::memory_order_relaxed);
    while (count > 0 && value < before + count) {
      from = value > before ? (int)(value - before) : 0;
      const int length = std::max(1, std::min(part / 8, (count - from) / 3));
      to = std::min(from + padded(length, step), count);
      if (claimed.compare_exchange_weak(value, before + to, std::memory_order_relaxed)) return true;
    }
    return false;
  }

  // Spins, since the wait is short on a quiet machine. On a busy one the awaited thread may be without
  // a processor: then this thread sleeps, so that it runs soon when there is work again.
  void wait_for_items(uint64_t count) const {
    const auto is_done = [&] { return done.value.load(std::memory_order_acquire) >= count; };
    for (int spins = 0; spins < SPINS; spins++) {
      if (is_done()) return;
      pause_spinning();
    }
    const auto start = std::chrono::steady_clock::now();
    while (!is_done()) {
      if (std::chrono::steady_clock::now() - start < YIELDING)
        std::this_thread::yield();
      else
        std::this_thread::sleep_for(SLEEP);
    }
  }

  static constexpr int SPINS = 1000;
  static constexpr std::chrono::microseconds YIELDING{100}, SLEEP{50};
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
