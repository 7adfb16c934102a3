// Checks the threads of one step. The first argument is the number of threads; with a second one,
// one thread begins late, and the time of the others is printed in milliseconds.

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "threads.h"

struct Call {
  int count, step;
  std::vector<std::atomic<int>> hits;  // how often each item was done
  std::atomic<int> done{0};
  Call(int count, int step) : count(count), step(step), hits(count) {}
};

static int fail(const char *what) {
  puts(what);
  return 1;
}

// Every item is done once, after all items of the call before, and in ranges of whole steps.
static int check_calls(int threads, unsigned seed) {
  std::vector<Call *> calls;
  for (int i = 0; i < 200; i++) {
    const int count = rand_r(&seed) % 3 ? rand_r(&seed) % 4 : rand_r(&seed) % 700;
    calls.push_back(new Call(count, 1 + rand_r(&seed) % 3));
  }
  std::atomic<bool> is_early{false}, is_divided{false};
  Team team(threads);
#pragma omp parallel num_threads(threads)
  for (size_t n = 0; n < calls.size(); n++)
    team.share(calls[n]->count, calls[n]->step, [&](int from, int to) {
      if (n && calls[n - 1]->done != calls[n - 1]->count) is_early = true;
      if (from % calls[n]->step) is_divided = true;
      for (int i = from; i < to; i++) calls[n]->hits[i]++;
      calls[n]->done += to - from;
    });
  for (Call *call : calls)
    for (auto &hits : call->hits)
      if (hits != 1) return fail("an item was not done once");
  if (is_early) return fail("a call began before the one before it had ended");
  if (is_divided) return fail("a range begins within a step");
  return 0;
}

// Returns the milliseconds that a thread needs for work of which another thread takes no part.
static double time_with_late_thread(int threads) {
  const auto start = std::chrono::steady_clock::now();
  std::chrono::duration<double, std::milli> needed{};
  Team team(threads);
  std::atomic<int> total{0};
#pragma omp parallel num_threads(threads)
  {
    if (thread_number() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
    for (int call = 0; call < 50; call++)
      team.for_each(100, [&](int) { total++; });
    if (thread_number() == 0) needed = std::chrono::steady_clock::now() - start;
  }
  if (total != 50 * 100) exit(fail("a late thread repeats work"));
  return needed.count();
}

int main(int argc, char **argv) {
  const int threads = atoi(argv[1]);
  if (argc > 2) return printf("%.0f\n", time_with_late_thread(threads)), 0;
  for (unsigned seed = 0; seed < 300; seed++)
    if (int failed = check_calls(threads, seed)) return failed;
  return 0;
}
