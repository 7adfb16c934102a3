// GPTBigCode with multi-query attention for a few rows at a time: one call is one decoding step.
//
// The arithmetic is float32, but for products of quantised weights and of caches in bfloat16, where
// the processor has instructions for those. Plain C functions, for ctypes; the Python side is
// engine/kernels/native.py.

#include "chunks.h"
#include "products.h"
#include "threads.h"

struct Norm {
  const float *weight, *bias;
};

struct Layer {
  Norm norm_1, norm_2;
  Matrix attention_in, attention_out, inner_in, inner_out;
};

struct Model {
  int32_t width, heads, head_dim, inner, layer_count;
  Kind cache;  // FLOAT or BF16
  float epsilon, scale;
  const Layer *layers;
  Norm last_norm;
  Matrix tokens, head;
  const void *positions;  // (positions, width), of the cache's kind
};

constexpr int MAX_ROWS = 32;  // rows

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

static Rows take_rows(int count, int columns) {
  Rows made{};
  made.count = count, made.columns = columns;
  made.values = workspace.take<float>((size_t)count * columns);
  made.bf16 = workspace.take<Bf16>((size_t)count * columns);
  made.bytes = workspace.take<int8_t>((size_t)count * made.stride());
  made.scales = workspace.take<float>((size_t)count * made.groups());
  made.sums = workspace.take<int32_t>((size_t)count * made.groups());
  made.partial = workspace.take<int32_t>((size_t)count * made.stride() / INT4_GROUP);
  return made;
}

static size_t rows_bytes(size_t count, size_t columns) {
  return count * padded(columns, ACTIVATION_GROUP) * 8 + 6 * 64;
}

// What the threads of one step share. Each method is called by all of them.
struct Step {
  const Model &model;
  const StepRow *places;
  float *hidden;
  Team team;
  Attention attends;
  Rows normed{}, mixed{}, inner{};

  void embed(const int64_t *ids) {
    team.each(normed.count, [&](int row) {
      const size_t place = (size_t)places[row].position * model.width;
      for (int i = 0; i < model.width; i += LANES) {
        const Floats position = model.cache == BF16
                                    ? widen((const Bf16 *)model.positions + place + i)
                                    : widen((const float *)model.positions + place + i);
        store(hidden + (size_t)row * model.width + i,
              weights_at(model.tokens, (int)ids[row], i) + position);
      }
    });
  }

  void norm_rows(const Norm &norm, const Matrix &user) {
    team.each(normed.count, [&](int row) {
      const int width = model.width;
      normalise(hidden + (size_t)row * width, norm, width, model.epsilon,
                normed.values + (size_t)row * width);
      normed.prepare(user, row);
    });
  }

  template <class C> void attention(const Layer &layer, int index) {
    const int width = model.width, dim = model.head_dim;
    multiply(layer.attention_in, normed, team, [&](int row, int at, const Floats &y) {
      const StepRow &place = places[row];
      const size_t offset = (size_t)place.position * dim + (at - width) % dim;
      if (at < width)
        attends.put_query<C>(row, at, y * model.scale);
      else if (at < width + dim)
        narrow((C *)place.keys[index] + offset, y);
      else
        narrow((C *)place.values[index] + offset, y);
    });
    attends.run<C>(team, index, mixed.values);
    const int groups = mixed.groups();
    team.each(mixed.count * groups, [&](int i) {
      const int row = i / groups, from = i % groups * ACTIVATION_GROUP;
      attends.finish(row, from, std::min(from + ACTIVATION_GROUP, width), mixed.values);
      mixed.prepare(layer.attention_out, row, i % groups);
    });
  }

  void layer(const Layer &layer, int index) {
    const int width = model.width;
    const auto add = [&](int row, int at, const Floats &y) {
      float *to = hidden + (size_t)row * width + at;
      store(to, load<Floats>(to) + y);
    };
    norm_rows(layer.norm_1, layer.attention_in);
    if (model.cache == BF16)
      attention<Bf16>(layer, index);
    else
      attention<float>(layer, index);
    multiply(layer.attention_out, mixed, team, add);
    norm_rows(layer.norm_2, layer.inner_in);
    const bool bf16 = layer.inner_out.rounds_activations();
    multiply(layer.inner_in, normed, team, [&](int row, int at, const Floats &y) {
      const size_t offset = (size_t)row * model.inner + at;
      if (bf16)
        narrow(inner.bf16 + offset, gelu(y));
      else
        store(inner.values + offset, gelu(y));
    });
    const int groups = inner.groups();
    if (layer.inner_out.is_quantised())
      team.each(inner.count * groups, [&](int i) { inner.quantise(i / groups, i % groups); });
    multiply(layer.inner_out, inner, team, add);
  }
};

static void store_some(float *to, const Floats &y, int most) {
  std::memcpy(to, &y, sizeof(float) * std::min(most, LANES));
}

extern "C" {

// Whether many rows of weights of a kind, and attention of many, are faster than with torch: found to
// be so of quantised weights on AVX-512 and AVX2, and of weights in bfloat16 where the processor has no
// instructions for those. Nobody has measured it on ARM.
int starcoder_many_rows(Kind kind) {
#if defined(__AVX512BF16__)
  return kind >= INT8 && PART_BYTES >= 32;
#else
  return kind >= BF16 && PART_BYTES >= 32;
#endif
}

// Computes a row for each of `count` ids, more than MAX_ROWS only of one sequence, and writes keys
// and values to the caches. `logits` (wanted_count, head's rows) are those of rows `wanted`.
void starcoder_step(const Model *model, const int64_t *ids, const StepRow *places, int count,
                    const int32_t *wanted, int wanted_count, float *logits, int threads) {
  const int width = model->width;
  Step step{*model, places, nullptr, Team(threads),
            {places, count, model->heads, model->head_dim, threads, count > MAX_ROWS}};
  workspace.reserve(3 * rows_bytes(count, width) + rows_bytes(count, model->inner) +
                    sizeof(float) * count * width + 64 + step.attends.bytes(threads));
  float *hidden = step.hidden = workspace.take<float>((size_t)count * width);
  step.normed = take_rows(count, width);
  step.mixed = take_rows(count, width);
  step.inner = take_rows(count, model->inner);
  step.attends.take(workspace, threads);
  Rows last = take_rows(wanted_count, width);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    step.embed(ids);
    for (int i = 0; i < model->layer_count; i++) step.layer(model->layers[i], i);
    step.team.each(wanted_count, [&](int i) {
      normalise(hidden + (size_t)wanted[i] * width, model->last_norm, width, model->epsilon,
                last.values + (size_t)i * width);
      last.prepare(model->head, i);
    });
    const int vocab = model->head.rows;
    multiply(model->head, last, step.team, [&](int row, int at, const Floats &y) {
      store_some(logits + (size_t)row * vocab + at, y, vocab - at);
    });
  }
}

// y (count, a's rows) = Wx + b for x (count, a's columns), any number of rows.
void starcoder_product(const Matrix *a, const float *x, int count, float *y, int threads) {
  workspace.reserve(rows_bytes(count, a->columns));
  Rows rows = take_rows(count, a->columns);
  rows.values = const_cast<float *>(x);
  Team team(threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    team.each(count, [&](int row) { rows.prepare(*a, row); });
    multiply(*a, rows, team, [&](int row, int at, const Floats &found) {
      store_some(y + (size_t)row * a->rows + at, found, a->rows - at);
    });
  }
}

// Rows of quantised weights from `first` on, in bfloat16 numbers: out (count, a's columns).
void starcoder_expand(const Matrix *a, int first, int count, Bf16 *out, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int row = 0; row < count; row++)
    for (int k = 0; k < a->columns; k += LANES)
      narrow(out + (size_t)row * a->columns + k, weights_at(*a, first + row, k));
}

// Attention of `count` rows from position `start` of a sequence: q and out (count, heads * dim),
// keys and values (start + count, dim) of the kind.
void starcoder_attend(Kind kind, const float *q, const void *keys, const void *values, int start,
                      int count, int heads, int dim, float scale, float *out, int threads) {
  void *of_keys = const_cast<void *>(keys), *of_values = const_cast<void *>(values);
  std::vector<StepRow> places(count, StepRow{&of_keys, &of_values, start});
  for (int row = 0; row < count; row++) places[row].position += row;
  Attention attends(places.data(), count, heads, dim, threads, count > MAX_ROWS);
  workspace.reserve(attends.bytes(threads));
  attends.take(workspace, threads);
  const int width = heads * dim;
  Team team(threads);
  const auto run = [&](auto kept) {
    using C = decltype(kept);
    team.each(count, [&](int row) {
      for (int at = 0; at < width; at += LANES)
        attends.put_query<C>(row, at, load<Floats>(q + (size_t)row * width + at) * scale);
    });
    attends.run<C>(team, 0, out);
    team.each(count, [&](int row) { attends.finish(row, 0, width, out); });
  };
#pragma omp parallel num_threads(threads) if (threads > 1)
  if (kind == BF16)
    run(Bf16{});
  else
    run(float{});
}
}
