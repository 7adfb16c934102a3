// GPTBigCode with multi-query attention for a few rows at a time: one call is one decoding step.
//
// The arithmetic is float32 throughout; weights and caches may be narrower. Plain C functions, for
// ctypes; the Python side is engine/native.py.

#include <thread>
#include <vector>
#if defined(_OPENMP)
extern "C" int omp_get_thread_num();
extern "C" int omp_get_num_threads();
#endif

#include "attention.h"
#include "attention_wide.h"
#include "products.h"

struct Norm {
  const float *weight, *bias;
};

struct Layer {
  Norm norm_1, norm_2;
  Matrix attention_in, attention_out, inner_in, inner_out;
};

struct Model {
  int32_t width, heads, head_dim, inner, layer_count;
  Kind cache;  // FLOAT or BRAIN
  float epsilon, scale;
  const Layer *layers;
  Norm last_norm;
  Matrix head;
};

// One row of a step: the id at `position` of a sequence, whose cache has for each layer keys and
// values of (positions, head_dim).
struct Place {
  void *const *keys, *const *values;
  int32_t position;
};

static int thread_number() {
#if defined(_OPENMP)
  return omp_get_thread_num();
#else
  return 0;
#endif
}

static int thread_count() {
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

static void normalise(const float *x, const Norm &norm, int width, float epsilon, float *y) {
  Floats sums{}, squares{};
  for (int i = 0; i < width; i += LANES) sums += load<Floats>(x + i);
  const float mean = sum(sums) / width;
  for (int i = 0; i < width; i += LANES) {
    const Floats off = load<Floats>(x + i) - mean;
    squares += off * off;
  }
  const float inverse = 1.0f / std::sqrt(sum(squares) / width + epsilon);
  for (int i = 0; i < width; i += LANES) {
    const Floats normal = (load<Floats>(x + i) - mean) * inverse;
    store(y + i, normal * load<Floats>(norm.weight + i) + load<Floats>(norm.bias + i));
  }
}

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

  Rows rows(int count, int columns) {
    Rows made{count, columns, nullptr, nullptr, nullptr, nullptr, nullptr};
    made.values = take<float>((size_t)count * columns);
    made.bytes = take<int8_t>((size_t)count * made.stride());
    made.scales = take<float>((size_t)count * made.groups());
    made.sums = take<int32_t>((size_t)count * made.groups());
    made.partial = take<int32_t>((size_t)count * made.stride() / INT4_GROUP);
    return made;
  }

  static size_t rows_bytes(size_t count, size_t columns) {
    return count * padded(columns, ACTIVATION_GROUP) * 6 + 5 * 64;
  }
};

static thread_local Workspace workspace;

// What the threads of one step share. Each method is called by all of them.
struct Step {
  const Model &model;
  const Place *places;
  int threads;
  float *hidden;
  Rows normed, mixed, inner;
  float *query;
  char *scratch, *packed;
  size_t scratch_size;  // of one thread
  bool wide;            // many rows, all of one sequence and one behind the other
  std::atomic<int> *counters;
  Meeting meeting{};

  // Shares `count` pieces of work out, and waits until all are done.
  template <class Work> void each(std::atomic<int> &next, int count, Work &&work) {
    for (int i; (i = next.fetch_add(1)) < count;) work(i);
    meeting.wait();
  }

  void norm_rows(std::atomic<int> &next, const Norm &norm, const Matrix &user) {
    each(next, normed.count, [&](int row) {
      const int width = model.width;
      normalise(hidden + (size_t)row * width, norm, width, model.epsilon,
                normed.values + (size_t)row * width);
      if (user.kind >= INT8) normed.quantise(row);
    });
  }

  void quantise_rows(std::atomic<int> &next, Rows &rows, const Matrix &user) {
    if (user.kind >= INT8) each(next, rows.count, [&](int row) { rows.quantise(row); });
  }

  template <class Done>
  void product(std::atomic<int> &next, const Matrix &a, const Rows &x, Done &&done) {
    multiply(a, x, next, threads, done);
    meeting.wait();
  }

  template <class C> void attention(std::atomic<int> *next, const Layer &layer, int index) {
    const int width = model.width, dim = model.head_dim;
    product(next[0], layer.attention_in, normed, [&](int row, int at, Floats y) {
      const Place &place = places[row];
      const size_t offset = (size_t)place.position * dim + (at - width) % dim;
      if (at < width)
        store(query + (size_t)row * width + at, y);
      else if (at < width + dim)
        narrow((C *)place.keys[index] + offset, y);
      else
        narrow((C *)place.values[index] + offset, y);
    });
    if (wide) return wide_attention<C>(next + 1, index);
    const int parts = (model.heads + HEADS_AT_ONCE - 1) / HEADS_AT_ONCE;
    each(next[1], mixed.count * parts, [&](int i) {
      const int row = i / parts;
      const Place &place = places[row];
      attend<C>(query + (size_t)row * width, place.keys[index], place.values[index],
                place.position + 1, model.heads, dim, model.scale, i % parts * HEADS_AT_ONCE,
                (float *)(scratch + thread_number() * scratch_size),
                mixed.values + (size_t)row * width);
    });
  }

  template <class C> void wide_attention(std::atomic<int> *next, int index) {
    const int dim = model.head_dim, width = model.width, start = places[0].position;
    const int rows = start + mixed.count, length = padded(rows, KEYS_PADDED);
    Packed<C> both{(C *)packed, (C *)packed + (size_t)length * dim, length, dim};
    each(next[0], length / LANES, [&](int block) {
      both.pack((const C *)places[0].keys[index], (const C *)places[0].values[index],
                block * LANES, rows);
    });
    const int tiles = (mixed.count + WIDE_ROWS - 1) / WIDE_ROWS;
    each(next[1], tiles * model.heads, [&](int i) {
      const int row = i / model.heads * WIDE_ROWS;
      const size_t at = (size_t)row * width + i % model.heads * dim;
      const WideScratch<C> mine(scratch + thread_number() * scratch_size, dim, length);
      attend_wide_some<C>(std::min(WIDE_ROWS, mixed.count - row), both, query + at, width,
                          start + row + 1, model.scale, mine, mixed.values + at);
    });
  }

  void layer(std::atomic<int> *next, const Layer &layer, int index) {
    const int width = model.width;
    const auto add = [&](int row, int at, Floats y) {
      float *to = hidden + (size_t)row * width + at;
      store(to, load<Floats>(to) + y);
    };
    norm_rows(next[0], layer.norm_1, layer.attention_in);
    if (model.cache == BRAIN)
      attention<Brain>(next + 1, layer, index);
    else
      attention<float>(next + 1, layer, index);
    quantise_rows(next[4], mixed, layer.attention_out);
    product(next[5], layer.attention_out, mixed, add);
    norm_rows(next[6], layer.norm_2, layer.inner_in);
    product(next[7], layer.inner_in, normed, [&](int row, int at, Floats y) {
      store(inner.values + (size_t)row * model.inner + at, gelu(y));
    });
    quantise_rows(next[8], inner, layer.inner_out);
    product(next[9], layer.inner_out, inner, add);
  }
};

constexpr int MOST_NARROW = 32;  // rows
constexpr int PHASES = 10;  // of a layer

static void store_some(float *to, Floats y, int most) {
  if (most >= LANES)
    store(to, y);
  else
    std::memcpy(to, &y, sizeof(float) * most);
}

extern "C" {

// Whether many rows are fast: without these instructions, torch's own products are faster.
int starcoder_many_rows() {
#if defined(__AVX512VNNI__)
  return 1;
#else
  return 0;
#endif
}

// Computes `count` rows, more than MOST_NARROW only of one sequence: `hidden` (count, width) are their embeddings, and is overwritten. Rows
// are written to the caches. `logits` (wanted_count, head's rows) are those of rows `wanted`.
void starcoder_step(const Model *model, const Place *places, int count, float *hidden,
                    const int32_t *wanted, int wanted_count, float *logits, int threads) {
  int longest = 0;
  for (int i = 0; i < count; i++) longest = std::max(longest, places[i].position + 1);
  const bool wide = count > MOST_NARROW;
  const int dim = model->head_dim, length = padded(longest, KEYS_PADDED);
  const size_t scratch = wide ? WideScratch<float>::bytes(dim, length)
                              : sizeof(float) * padded(longest, LANES) * HEADS_AT_ONCE;
  const size_t packed = wide ? 2 * sizeof(float) * (size_t)length * dim : 0;
  const int phases = model->layer_count * PHASES + 2, width = model->width;
  workspace.reserve(3 * Workspace::rows_bytes(count, width) +
                    Workspace::rows_bytes(count, model->inner) +
                    sizeof(float) * (size_t)count * width + threads * padded(scratch, 64) +
                    packed + sizeof(int) * phases + 10 * 64);
  Step step{*model, places, threads, hidden, {}, {}, {}, nullptr, nullptr, nullptr, 0, wide,
            nullptr};
  step.normed = workspace.rows(count, width);
  step.mixed = workspace.rows(count, width);
  step.inner = workspace.rows(count, model->inner);
  step.query = workspace.take<float>((size_t)count * width);
  step.scratch_size = padded(scratch, 64);
  step.scratch = workspace.take<char>(threads * step.scratch_size);
  step.packed = workspace.take<char>(packed);
  step.counters = workspace.take<std::atomic<int>>(phases);
  std::memset((void *)step.counters, 0, sizeof(int) * phases);
  Rows last = workspace.rows(wanted_count, width);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    std::atomic<int> *next = step.counters;
    for (int i = 0; i < model->layer_count; i++, next += PHASES) step.layer(next, model->layers[i], i);
    step.each(next[0], wanted_count, [&](int i) {
      normalise(hidden + (size_t)wanted[i] * width, model->last_norm, width, model->epsilon,
                last.values + (size_t)i * width);
      if (model->head.kind >= INT8) last.quantise(i);
    });
    const int vocab = model->head.rows;
    step.product(next[1], model->head, last, [&](int row, int at, Floats y) {
      store_some(logits + (size_t)row * vocab + at, y, vocab - at);
    });
  }
}

// y (count, a's rows) = Wx + b for x (count, a's columns), any number of rows.
void starcoder_product(const Matrix *a, const float *x, int count, float *y, int threads) {
  workspace.reserve(Workspace::rows_bytes(count, a->columns) + 64);
  Rows rows = workspace.rows(count, a->columns);
  rows.values = const_cast<float *>(x);
  std::atomic<int> quantised{0}, multiplied{0};
  Meeting meeting;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    if (a->kind >= INT8) {
      for (int i; (i = quantised.fetch_add(1)) < count;) rows.quantise(i);
      meeting.wait();
    }
    multiply(*a, rows, multiplied, threads, [&](int row, int at, Floats y16) {
      store_some(y + (size_t)row * a->rows + at, y16, a->rows - at);
    });
    meeting.wait();
  }
}

// Rows of quantised weights from `first` on, in brain floats: out (count, a's columns).
void starcoder_expand(const Matrix *a, int first, int count, Brain *out, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int row = 0; row < count; row++)
    for (int k = 0; k < a->columns; k += LANES) {
      Floats values;
      for (int i = 0; i < LANES; i++) values[i] = weight_at(*a, first + row, k + i);
      narrow(out + (size_t)row * a->columns + k, values);
    }
}

// Attention of `count` rows from position `start` of a sequence: q and out (count, heads * dim),
// keys and values (start + count, dim) of the kind.
void starcoder_attend(Kind kind, const float *q, const void *keys, const void *values, int start,
                      int count, int heads, int dim, float scale, float *out, int threads) {
  const int width = heads * dim, length = padded(start + count, KEYS_PADDED);
  Model model{width, heads, dim, 0, 0, kind, 0, scale, nullptr, {}, {}};
  void *of_keys = const_cast<void *>(keys), *of_values = const_cast<void *>(values);
  const Place place{&of_keys, &of_values, start};
  const size_t scratch = padded(WideScratch<float>::bytes(dim, length), 64);
  const size_t packed = 2 * sizeof(float) * (size_t)length * dim;
  workspace.reserve(threads * scratch + packed + 2 * 64);
  char *memory = workspace.take<char>(threads * scratch);
  std::atomic<int> counters[2]{};
  Step step{model, &place, threads, nullptr, {}, {}, {}, nullptr, nullptr, nullptr, scratch, true,
            nullptr};
  step.mixed = Rows{count, width, out, nullptr, nullptr, nullptr, nullptr};
  step.query = const_cast<float *>(q);
  step.scratch = memory;
  step.packed = workspace.take<char>(packed);
#pragma omp parallel num_threads(threads) if (threads > 1)
  if (kind == BRAIN)
    step.wide_attention<Brain>(counters, 0);
  else
    step.wide_attention<float>(counters, 0);
}
}
