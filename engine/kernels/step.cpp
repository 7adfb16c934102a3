// A dense decoder: one call computes one decoding step.
//
// The arithmetic is float32, except for products of quantised weights and of caches in bfloat16, if
// the processor has instructions for those. The functions are plain C, for ctypes. The Python side is
// engine/kernels/native.py.

#include "chunks.h"
#include "products.h"
#include "threads.h"

// LayerNorm, or RMSNorm if `bias` is null.
struct Norm {
  const float *weight, *bias;
};

// `query_norm` and `key_norm` are RMSNorms of each head, or null. A query sees `window` positions.
struct Layer {
  Norm norm_1, norm_2;
  const float *query_norm, *key_norm;
  Matrix attention_in, attention_out, mlp_in, mlp_out;
  int32_t window;
};

enum Activation : int32_t { GELU = 0, SILU = 1 };

struct Model {
  int32_t width, inner, layer_count;
  Heads heads;
  Activation activation;
  int32_t is_gated;  // rows of mlp_in are blocks of 16, of the gate and of the second matrix in turn
  Kind cache;        // FLOAT or BF16
  float epsilon, attention_scale, embedding_scale, residual_scale, logit_scale;
  const Layer *layers;
  Norm last_norm;
  Matrix tokens, head;     // head has no bias
  const void *positions;   // (positions, width), of the cache's kind; or null
  const float *rotations;  // (positions, dim): cosine and sine of each pair; or null

  int query_width() const { return heads.heads * heads.dim; }
  int kv_width() const { return heads.kv_heads * heads.dim; }
};

// Maximum rows of a step for several sequences: DECODE_ROWS in engine/network/batch.py.
constexpr int MAX_ROWS = 32;

static void rms_norm(const float *x, const float *weight, int width, float epsilon, float *y) {
  Floats squares{};
  for (int i = 0; i < width; i += LANES) squares += load<Floats>(x + i) * load<Floats>(x + i);
  const float inverse = 1.0f / std::sqrt(sum(squares) / width + epsilon);
  for (int i = 0; i < width; i += LANES)
    store(y + i, load<Floats>(x + i) * inverse * load<Floats>(weight + i));
}

static void normalize(const float *x, const Norm &norm, int width, float epsilon, float *y) {
  if (!norm.bias) return rms_norm(x, norm.weight, width, epsilon, y);
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
  Rows rows(count, columns);
  rows.values = workspace.allocate<float>((size_t)count * columns);
  rows.bf16 = workspace.allocate<Bf16>((size_t)count * columns);
  rows.words = workspace.allocate<int32_t>((size_t)rows.padded_count() * rows.stride() / 4);
  rows.groups = workspace.allocate<QuantisedGroup>((size_t)rows.padded_count() * rows.num_groups());
  return rows;
}

static size_t rows_bytes(int count, int columns) {
  return (size_t)Rows(count, columns).padded_count() * padded(columns, ACTIVATION_GROUP) * 8 + 6 * 64;
}

// The data that the threads of one step share. All threads must call each method.
struct Step {
  const Model &model;
  const StepRow *rows;
  float *hidden;
  Team team;
  Attention attention;
  Rows normed{0, 0}, mixed{0, 0}, inner{0, 0};
  float *projected = nullptr;  // queries and keys before their norms, if a model has such norms

  Floats position_embedding(size_t index) const {
    if (!model.positions) return Floats{};
    return model.cache == BF16 ? widen((const Bf16 *)model.positions + index)
                               : widen((const float *)model.positions + index);
  }

  void embed(const int64_t *ids) {
    team.for_each(normed.count, [&](int row) {
      const size_t row_start = (size_t)rows[row].position * model.width;
      for (int i = 0; i < model.width; i += LANES)
        store(hidden + (size_t)row * model.width + i,
              weights_at(model.tokens, (int)ids[row], i) * model.embedding_scale +
                  position_embedding(row_start + i));
    });
  }

  void norm_rows(const Norm &norm, const Matrix &matrix) {
    team.for_each(normed.count, [&](int row) {
      const int width = model.width;
      normalize(hidden + (size_t)row * width, norm, width, model.epsilon,
                normed.values + (size_t)row * width);
      normed.prepare(matrix, row);
    });
  }

  // Stores 16 columns of a row's queries, keys or values: a query for the attention, a key or a
  // value in the cache.
  template <class C> void place(int row, int column, Floats y, int layer) {
    const int query_width = model.query_width(), kv_width = model.kv_width(), dim = model.heads.dim;
    const StepRow &step_row = rows[row];
    if (model.rotations && column < query_width + kv_width)
      y = rotate_pairs(y, load<Floats>(model.rotations + (size_t)step_row.position * dim +
                                       column % dim));
    if (column < query_width)
      return attention.put_query<C>(row, column, y * model.attention_scale);
    const bool is_key = column < query_width + kv_width;
    const int kv_column = (column - query_width) % kv_width;
    const size_t cache_row =
        (size_t)(kv_column / dim) * step_row.cache_rows + step_row.position;
    void *const *buffers = is_key ? step_row.keys : step_row.values;
    narrow((C *)buffers[layer] + cache_row * dim + kv_column % dim, y);
  }

  // Normalizes the queries and keys of each head, and stores them.
  template <class C> void place_normed_heads(const Layer &layer, int index) {
    const Heads &heads = model.heads;
    const int num_heads = heads.heads + heads.kv_heads;
    team.for_each(normed.count * num_heads, [&](int i) {
      const int row = i / num_heads, head = i % num_heads;
      float *x = projected + (size_t)i * heads.dim;
      const float *weight = head < heads.heads ? layer.query_norm : layer.key_norm;
      rms_norm(x, weight, heads.dim, model.epsilon, x);
      for (int column = 0; column < heads.dim; column += LANES)
        place<C>(row, head * heads.dim + column, load<Floats>(x + column), index);
    });
  }

  template <class C> void attend(const Layer &layer, int index) {
    const int num_normed = layer.query_norm ? model.query_width() + model.kv_width() : 0;
    multiply(layer.attention_in, normed, team, [&](int row, int column, const Floats &y) {
      if (column < num_normed)
        store(projected + (size_t)row * num_normed + column, y);
      else
        place<C>(row, column, y, index);
    });
    if (num_normed) place_normed_heads<C>(layer, index);
    attention.run<C>(team, index, layer.window, mixed.values);
    const int groups = mixed.num_groups();
    team.for_each(mixed.count * groups, [&](int i) {
      const int row = i / groups, from = i % groups * ACTIVATION_GROUP;
      attention.finish(row, from, std::min(from + ACTIVATION_GROUP, mixed.columns), mixed.values);
      mixed.prepare(layer.attention_out, row, i % groups);
    });
  }

  Floats activate(const Floats &x) const { return model.activation == SILU ? silu(x) : gelu(x); }

  // Stores 16 activations of the MLP, in the format that the next product reads.
  void put_inner(int row, int column, const Floats &y, bool bf16) {
    const size_t offset = (size_t)row * model.inner + column;
    if (bf16)
      narrow(inner.bf16 + offset, y);
    else
      store(inner.values + offset, y);
  }

  void activations(const Layer &layer) {
    const bool bf16 = layer.mlp_out.rounds_activations();
    if (!model.is_gated)
      return multiply(layer.mlp_in, normed, team, [&](int row, int column, const Floats &y) {
        put_inner(row, column, activate(y), bf16);
      });
    // The same thread gets a block of the gate and then the block that it multiplies.
    multiply(
        layer.mlp_in, normed, team,
        [&](int row, int column, const Floats &y) {
          const int block = column / LANES, to = block / 2 * LANES;
          float *gate = inner.values + (size_t)row * model.inner + to;
          if (block % 2 == 0)
            store(gate, activate(y));
          else
            put_inner(row, to, load<Floats>(gate) * y, bf16);
        },
        2);
  }

  void layer(const Layer &layer, int index) {
    const auto add = [&](int row, int column, const Floats &y) {
      float *to = hidden + (size_t)row * model.width + column;
      store(to, load<Floats>(to) + y * model.residual_scale);
    };
    norm_rows(layer.norm_1, layer.attention_in);
    if (model.cache == BF16)
      attend<Bf16>(layer, index);
    else
      attend<float>(layer, index);
    multiply(layer.attention_out, mixed, team, add);
    norm_rows(layer.norm_2, layer.mlp_in);
    activations(layer);
    const int groups = inner.num_groups();
    if (layer.mlp_out.is_quantised())
      team.for_each(inner.count * groups, [&](int i) { inner.quantise(i / groups, i % groups); });
    multiply(layer.mlp_out, inner, team, add);
  }
};

static void store_first(float *to, const Floats &y, int count) {
  std::memcpy(to, &y, sizeof(float) * std::min(count, LANES));
}

static void add_first(float *to, const Floats &y, int count) {
  float values[LANES];
  store(values, y);
  for (int i = 0; i < std::min(count, LANES); i++) to[i] += values[i];
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
  const int width = model->width, query_width = model->query_width();
  const bool has_head_norms = model->layers[0].query_norm != nullptr;
  const size_t num_projected =
      has_head_norms ? (size_t)count * (query_width + model->kv_width()) : 0;
  Step step{*model, rows, nullptr, Team(threads),
            {rows, count, model->heads, threads, count > MAX_ROWS}};
  // The logits of a quantised head are sums of two products: with activations in 8 bits, and with
  // the rest of the activations in 8 bits. So errors of activations do not reach the logits.
  const int parts = model->head.is_quantised() ? 2 : 1;
  workspace.reserve(3 * rows_bytes(count, width) + rows_bytes(count, query_width) +
                    rows_bytes(count, model->inner) +
                    sizeof(float) * ((size_t)count * width + num_projected) + 2 * 64 +
                    step.attention.bytes(threads));
  float *hidden = step.hidden = workspace.allocate<float>((size_t)count * width);
  step.projected = workspace.allocate<float>(num_projected);
  step.normed = allocate_rows(count, width);
  step.mixed = allocate_rows(count, query_width);
  step.inner = allocate_rows(count, model->inner);
  step.attention.allocate(workspace, threads);
  Rows last = allocate_rows(parts * num_logits, width);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    step.embed(ids);
    for (int i = 0; i < model->layer_count; i++) step.layer(model->layers[i], i);
    step.team.for_each(num_logits, [&](int i) {
      const int row = parts * i;
      normalize(hidden + (size_t)logits_rows[i] * width, model->last_norm, width, model->epsilon,
                last.values + (size_t)row * width);
      last.prepare(model->head, row);
      if (parts == 2) {
        last.set_remainder(row + 1);
        last.prepare(model->head, row + 1);
      }
    });
    const int vocab = model->head.rows;
    // The same thread gets both parts of 16 logits, in order.
    multiply(model->head, last, step.team, [&](int row, int column, const Floats &y) {
      float *to = logits + (size_t)(row / parts) * vocab + column;
      const Floats scaled = y * model->logit_scale;
      if (row % parts == 0)
        store_first(to, scaled, vocab - column);
      else
        add_first(to, scaled, vocab - column);
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
// (count, heads * dim), keys and values (kv_heads, cache_rows, dim) of the kind. A query sees `window`
// positions.
void starcoder_attend(Kind kind, const float *q, const void *keys, const void *values, int start,
                      int count, int cache_rows, const Heads *heads, int window, float scale,
                      float *out, int threads) {
  void *key_buffer = const_cast<void *>(keys), *value_buffer = const_cast<void *>(values);
  std::vector<StepRow> rows(count, StepRow{&key_buffer, &value_buffer, start, cache_rows});
  for (int row = 0; row < count; row++) rows[row].position += row;
  Attention attention(rows.data(), count, *heads, threads, count > MAX_ROWS);
  workspace.reserve(attention.bytes(threads));
  attention.allocate(workspace, threads);
  const int width = heads->heads * heads->dim;
  Team team(threads);
  const auto run = [&](auto stored) {
    using C = decltype(stored);
    team.for_each(count, [&](int row) {
      for (int column = 0; column < width; column += LANES)
        attention.put_query<C>(row, column, load<Floats>(q + (size_t)row * width + column) * scale);
    });
    attention.run<C>(team, 0, window, out);
    team.for_each(count, [&](int row) { attention.finish(row, 0, width, out); });
  };
#pragma omp parallel num_threads(threads) if (threads > 1)
  if (kind == BF16)
    run(Bf16{});
  else
    run(float{});
}
}
