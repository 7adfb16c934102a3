// GPTBigCode with multi-query attention: one call computes one decoding step.
//
// The arithmetic is float32, except for products of quantised weights and of caches in bfloat16, if
// the processor has instructions for those. The functions are plain C, for ctypes. The Python side is
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

// Maximum rows of a step for several sequences: DECODE_ROWS in engine/network/batch.py.
constexpr int MAX_ROWS = 32;

static void layer_norm(const float *x, const Norm &norm, int width, float epsilon, float *y) {
  Floats sums{}, squares{};
  for (int i = 0; i < width; i += LANES) sums += load<Floats>(x + i);
  const float mean = sum(sums) / width;
  for (int i = 0; i < width; i += LANES) {
    const Floats difference = load<Floats>(x + i) - mean;
    squares += difference * difference;
  }
  const float inverse = 1.0f / std::sqrt(sum(squares) / width + epsilon);
  for (int i = 0; i < width; i += LANES) {
    const Floats normal = (load<Floats>(x + i) - mean) * inverse;
    store(y + i, normal * load<Floats>(norm.weight + i) + load<Floats>(norm.bias + i));
  }
}

static Rows allocate_rows(int count, int columns) {
  Rows rows{};
  rows.count = count, rows.columns = columns;
  rows.values = workspace.allocate<float>((size_t)count * columns);
  rows.bf16 = workspace.allocate<Bf16>((size_t)count * columns);
  rows.bytes = workspace.allocate<int8_t>((size_t)count * rows.stride());
  rows.scales = workspace.allocate<float>((size_t)count * rows.groups());
  rows.sums = workspace.allocate<int32_t>((size_t)count * rows.groups());
  rows.partial = workspace.allocate<int32_t>((size_t)count * rows.stride() / INT4_GROUP);
  return rows;
}

static size_t rows_bytes(size_t count, size_t columns) {
  return count * padded(columns, ACTIVATION_GROUP) * 8 + 6 * 64;
}

// The data that the threads of one step share. All threads must call each method.
struct Step {
  const Model &model;
  const StepRow *rows;
  float *hidden;
  Team team;
  Attention attention;
  Rows normed{}, mixed{}, inner{};

  void embed(const int64_t *ids) {
    team.for_each(normed.count, [&](int row) {
      const size_t row_start = (size_t)rows[row].position * model.width;
      for (int i = 0; i < model.width; i += LANES) {
        const Floats position = model.cache == BF16
                                    ? widen((const Bf16 *)model.positions + row_start + i)
                                    : widen((const float *)model.positions + row_start + i);
        store(hidden + (size_t)row * model.width + i,
              weights_at(model.tokens, (int)ids[row], i) + position);
      }
    });
  }

  void norm_rows(const Norm &norm, const Matrix &matrix) {
    team.for_each(normed.count, [&](int row) {
      const int width = model.width;
      layer_norm(hidden + (size_t)row * width, norm, width, model.epsilon,
                 normed.values + (size_t)row * width);
      normed.prepare(matrix, row);
    });
  }

  template <class C> void attend(const Layer &layer, int index) {
    const int width = model.width, dim = model.head_dim;
    multiply(layer.attention_in, normed, team, [&](int row, int column, const Floats &y) {
      const StepRow &step_row = rows[row];
      const size_t offset = (size_t)step_row.position * dim + (column - width) % dim;
      if (column < width)
        attention.put_query<C>(row, column, y * model.scale);
      else if (column < width + dim)
        narrow((C *)step_row.keys[index] + offset, y);
      else
        narrow((C *)step_row.values[index] + offset, y);
    });
    attention.run<C>(team, index, mixed.values);
    const int groups = mixed.groups();
    team.for_each(mixed.count * groups, [&](int i) {
      const int row = i / groups, from = i % groups * ACTIVATION_GROUP;
      attention.finish(row, from, std::min(from + ACTIVATION_GROUP, width), mixed.values);
      mixed.prepare(layer.attention_out, row, i % groups);
    });
  }

  void layer(const Layer &layer, int index) {
    const int width = model.width;
    const auto add = [&](int row, int column, const Floats &y) {
      float *to = hidden + (size_t)row * width + column;
      store(to, load<Floats>(to) + y);
    };
    norm_rows(layer.norm_1, layer.attention_in);
    if (model.cache == BF16)
      attend<Bf16>(layer, index);
    else
      attend<float>(layer, index);
    multiply(layer.attention_out, mixed, team, add);
    norm_rows(layer.norm_2, layer.inner_in);
    const bool bf16 = layer.inner_out.rounds_activations();
    multiply(layer.inner_in, normed, team, [&](int row, int column, const Floats &y) {
      const size_t offset = (size_t)row * model.inner + column;
      if (bf16)
        narrow(inner.bf16 + offset, gelu(y));
      else
        store(inner.values + offset, gelu(y));
    });
    const int groups = inner.groups();
    if (layer.inner_out.is_quantised())
      team.for_each(inner.count * groups, [&](int i) { inner.quantise(i / groups, i % groups); });
    multiply(layer.inner_out, inner, team, add);
  }
};

static void store_first(float *to, const Floats &y, int count) {
  std::memcpy(to, &y, sizeof(float) * std::min(count, LANES));
}

extern "C" {

// Whether products of many rows with weights of a kind, and attention of many rows, are faster than
// in torch. Measurements say so for quantised weights on AVX-512 and AVX2, and for weights in bfloat16
// on processors without instructions for those. ARM has not been measured.
int starcoder_many_rows(Kind kind) {
#if defined(__AVX512BF16__)
  return kind >= INT8 && PART_BYTES >= 32;
#else
  return kind >= BF16 && PART_BYTES >= 32;
#endif
}

// Computes a row for each of `count` ids and writes keys and values to the caches. More than MAX_ROWS
// rows must belong to one sequence. `logits` (num_logits, head's rows) receives the logits of
// `logits_rows`.
void starcoder_step(const Model *model, const int64_t *ids, const StepRow *rows, int count,
                    const int32_t *logits_rows, int num_logits, float *logits, int threads) {
  const int width = model->width;
  Step step{*model, rows, nullptr, Team(threads),
            {rows, count, model->heads, model->head_dim, threads, count > MAX_ROWS}};
  workspace.reserve(3 * rows_bytes(count, width) + rows_bytes(count, model->inner) +
                    sizeof(float) * count * width + 64 + step.attention.bytes(threads));
  float *hidden = step.hidden = workspace.allocate<float>((size_t)count * width);
  step.normed = allocate_rows(count, width);
  step.mixed = allocate_rows(count, width);
  step.inner = allocate_rows(count, model->inner);
  step.attention.allocate(workspace, threads);
  Rows last = allocate_rows(num_logits, width);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    step.embed(ids);
    for (int i = 0; i < model->layer_count; i++) step.layer(model->layers[i], i);
    step.team.for_each(num_logits, [&](int i) {
      layer_norm(hidden + (size_t)logits_rows[i] * width, model->last_norm, width, model->epsilon,
                 last.values + (size_t)i * width);
      last.prepare(model->head, i);
    });
    const int vocab = model->head.rows;
    multiply(model->head, last, step.team, [&](int row, int column, const Floats &y) {
      store_first(logits + (size_t)row * vocab + column, y, vocab - column);
    });
  }
}

// Computes y (count, a's rows) = Wx + b for x (count, a's columns), for any number of rows.
void starcoder_product(const Matrix *a, const float *x, int count, float *y, int threads) {
  workspace.reserve(rows_bytes(count, a->columns));
  Rows rows = allocate_rows(count, a->columns);
  rows.values = const_cast<float *>(x);
  Team team(threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    team.for_each(count, [&](int row) { rows.prepare(*a, row); });
    multiply(*a, rows, team, [&](int row, int column, const Floats &value) {
      store_first(y + (size_t)row * a->rows + column, value, a->rows - column);
    });
  }
}

// Converts rows of quantised weights from `first` on to bfloat16: out (count, a's columns).
void starcoder_expand(const Matrix *a, int first, int count, Bf16 *out, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int row = 0; row < count; row++)
    for (int k = 0; k < a->columns; k += LANES)
      narrow(out + (size_t)row * a->columns + k, weights_at(*a, first + row, k));
}

// Computes attention for `count` rows from position `start` of a sequence on. q and out are
// (count, heads * dim), keys and values (start + count, dim) of the kind.
void starcoder_attend(Kind kind, const float *q, const void *keys, const void *values, int start,
                      int count, int heads, int dim, float scale, float *out, int threads) {
  void *key_buffer = const_cast<void *>(keys), *value_buffer = const_cast<void *>(values);
  std::vector<StepRow> rows(count, StepRow{&key_buffer, &value_buffer, start});
  for (int row = 0; row < count; row++) rows[row].position += row;
  Attention attention(rows.data(), count, heads, dim, threads, count > MAX_ROWS);
  workspace.reserve(attention.bytes(threads));
  attention.allocate(workspace, threads);
  const int width = heads * dim;
  Team team(threads);
  const auto run = [&](auto stored) {
    using C = decltype(stored);
    team.for_each(count, [&](int row) {
      for (int column = 0; column < width; column += LANES)
        attention.put_query<C>(row, column, load<Floats>(q + (size_t)row * width + column) * scale);
    });
    attention.run<C>(team, 0, out);
    team.for_each(count, [&](int row) { attention.finish(row, 0, width, out); });
  };
#pragma omp parallel num_threads(threads) if (threads > 1)
  if (kind == BF16)
    run(Bf16{});
  else
    run(float{});
}
}
