// Attention as products of matrices.
//
// The query heads that share a key/value head are a group. Every head of the group, of every row of a
// sequence, is a row of one matrix of queries. Keys and values are packed once for all of these
// queries: put into the order in which the products read them. The arithmetic of a row does not
// depend on the number of rows.
#pragma once

#include <algorithm>
#include <type_traits>

#include "vectors.h"

constexpr int QUERIES = 6;                         // queries that are computed together,
constexpr int COLUMNS = PART_BYTES == 64 ? 4 : 1;  // with this many times 16 columns
constexpr int CHUNK = 128;                         // keys that one thread attends to at a time
constexpr float MASKED_SCORE = -1e30f;             // score of a key that the query must not see

// The type in which queries, keys, values and probabilities are multiplied. PAIR neighbouring numbers
// fill 32 bits.
#if defined(HAS_BF16_DOT)
template <class Stored> using Factor = Stored;
#else
template <class Stored> using Factor = float;
#endif
template <class T> constexpr int PAIR = sizeof(float) / sizeof(T);

INLINE Floats add_product(const Floats &total, const void *w, const float *x) {
  return total + load<Floats>(w) * x[0];
}

#if defined(HAS_BF16_DOT)
INLINE Floats add_product(const Floats &total, const void *w, const Bf16 *x) {
  return dot_bf16(total, load<__m512i>(w), _mm512_set1_epi32(load<int32_t>(x)));
}
#endif

// Numbers in the order in which products read them: blocks of 16 columns. Blocks are `block` numbers
// apart; the rows of a block, or its pairs of rows, are `step` numbers apart.
template <class T> struct Blocks {
  const T *first;
  size_t block, step;
};

// out[m][16 j + lane] of M rows x (M, stride) with J blocks from `column` on, of `steps` rows.
template <class T, int M, int J>
INLINE void product_tile(const Blocks<T> &blocks, int column, const T *x, size_t stride, int steps,
                         Floats (&out)[M][J]) {
  const T *w = blocks.first + column / LANES * blocks.block;
  UNROLL
  for (int m = 0; m < M; m++)
    UNROLL
    for (int j = 0; j < J; j++) out[m][j] = Floats{};
  for (int s = 0; s < steps; s++)
    UNROLL
    for (int j = 0; j < J; j++)
      UNROLL
      for (int m = 0; m < M; m++)
        out[m][j] = add_product(out[m][j], w + j * blocks.block + s * blocks.step,
                                x + m * stride + (size_t)s * PAIR<T>);
}

// Writes the products of M rows with `columns` columns to out (M, out_stride).
template <int M, class T>
INLINE void multiply_rows(const Blocks<T> &blocks, int columns, const T *x, size_t stride,
                          int steps, float *out, size_t out_stride) {
  const auto multiply_tile = [&](int column, auto &tile) __attribute__((always_inline)) {
    constexpr int J = sizeof tile[0] / sizeof(Floats);
    product_tile<T, M, J>(blocks, column, x, stride, steps, tile);
    for (int m = 0; m < M; m++)
      for (int j = 0; j < J; j++) store(out + m * out_stride + column + j * LANES, tile[m][j]);
  };
  int column = 0;
  if constexpr (COLUMNS > 1)
    for (Floats tile[M][COLUMNS]; column + COLUMNS * LANES <= columns; column += COLUMNS * LANES)
      multiply_tile(column, tile);
  for (Floats tile[M][1]; column < columns; column += LANES) multiply_tile(column, tile);
}

// Packed keys and values of a cache of type C: blocks of 16 keys, and blocks of 16 dimensions. Values
// that need no packing are read from the cache.
template <class C> struct Packed {
  using T = Factor<C>;
  static constexpr bool IN_PLACE = std::is_same_v<C, float>;
  T *keys, *values;
  const C *cache_keys, *cache_values;
  int rows, length, dim;  // the length is `rows` padded to a multiple of 16

  static size_t bytes(int length, int dim) { return 2 * sizeof(T) * (size_t)length * dim; }

  // For `rows` rows of a cache, starting at `cache_keys` and `cache_values`.
  Packed(char *memory, const C *cache_keys, const C *cache_values, int rows, int dim)
      : keys((T *)memory), cache_keys(cache_keys), cache_values(cache_values), rows(rows),
        length(padded(rows, LANES)), dim(dim) {
    values = keys + (size_t)length * dim;
  }

  // The keys from row `first` on, a multiple of 16, and the values.
  Blocks<T> key_blocks(int first) const {
    return {keys + (size_t)first * dim, (size_t)LANES * dim, LANES * PAIR<T>};
  }

  Blocks<T> value_blocks(int first) const {
    if constexpr (IN_PLACE) return {cache_values + (size_t)first * dim, LANES, (size_t)dim};
    else return {values + (size_t)first * LANES, (size_t)LANES * length, LANES * PAIR<T>};
  }

  // Packs 16 rows. Rows beyond the last one are zeros.
  void pack(int first) const {
    const C *from = cache_keys + (size_t)first * dim;
    T *to = keys + (size_t)first * dim;
    for (int ahead = 0; ahead < LANES * dim; ahead += 64 / sizeof(C))
      __builtin_prefetch(from + (size_t)LANES * dim + ahead, 0, 3);
    for (int column = 0; column < dim; column += LANES * PAIR<T>) {
      const int remaining = dim - column;
      Ints lines[LANES];
      for (int i = 0; i < LANES; i++)
        lines[i] = first + i < rows ? load_columns(from + (size_t)i * dim + column, remaining)
                                    : Ints{};
      transpose(lines);
      for (int i = 0; i < std::min(LANES, remaining / PAIR<T>); i++)
        store(to + (size_t)column * LANES + i * LANES * PAIR<T>, lines[i]);
    }
    if constexpr (!IN_PLACE)
      for (int i = first; i < first + LANES; i += PAIR<T>)
        for (int column = 0; column < dim; column += LANES)
          store(values + (size_t)column * length + (size_t)i * LANES,
                load_row_pair(cache_values + (size_t)i * dim + column, rows - i));
  }

 private:
  // Sixteen times 32 bits of a row of which `remaining` numbers remain.
  static Ints load_columns(const C *from, int remaining) {
    if constexpr (PAIR<T> == 1) return as_ints(widen(from));
    if (remaining >= LANES * PAIR<T>) return load<Ints>(from);
    Ints columns{};
    std::memcpy(&columns, from, sizeof(C) * LANES);
    return columns;
  }

  // Sixteen columns of a row, interleaved with those of the next row if numbers come in pairs.
  Ints load_row_pair(const C *from, int remaining_rows) const {
    if constexpr (PAIR<T> == 1) {
      return remaining_rows > 0 ? as_ints(widen(from)) : Ints{};
    } else {
      const Ints low = remaining_rows > 0 ? load_halves(&from->bits) : Ints{};
      return remaining_rows > 1 ? low | load_halves(&from[dim].bits) << 16 : low;
    }
  }
};

constexpr int NO_WINDOW = 1 << 30;  // a window that no sequence reaches

// All queries of a sequence for one key/value head, scaled: row i is head i % heads of the group, at
// position start + i / heads. A query sees `window` positions, the last of which is its own.
template <class T> struct Queries {
  const T *rows;
  int start, heads, window;

  int position(int query) const { return start + query / heads; }
};

// Softmax of one query over some keys. The query's output must still be divided by `total`.
struct SoftmaxState {
  float max, total;
};

// One thread's memory for scores and probabilities of `length` keys.
template <class T> struct Scratch {
  float *scores;
  T *probabilities;

  static size_t bytes(int length) { return QUERIES * (size_t)length * (sizeof(float) + sizeof(T)); }

  Scratch(char *memory, int length)
      : scores((float *)memory), probabilities((T *)(scores + QUERIES * (size_t)length)) {}
};

// Computes probabilities, not yet divided by their total, from the scores `first` to `last` of
// `length` scores.
template <class T>
INLINE SoftmaxState softmax(float *scores, T *probabilities, int first, int last, int length) {
  for (int n = 0; n < first; n++) scores[n] = MASKED_SCORE;
  for (int n = last; n < length; n++) scores[n] = MASKED_SCORE;
  Floats top = load<Floats>(scores), total{};
  for (int n = LANES; n < length; n += LANES) top = maximum(top, load<Floats>(scores + n));
  const float max = max_lane(top);
  for (int n = 0; n < length; n += LANES) {
    const Floats probability = exponential(load<Floats>(scores + n) - max);
    narrow(probabilities + n, probability);
    total += probability;
  }
  return {max, last > first ? sum(total) : 0.0f};
}

// Attention of M queries from `first` on to packed keys, the first of which is at position `from`.
template <int M, class C, class T>
static void attend(const Queries<T> &queries, int first, const Packed<C> &packed, int from,
                   const Scratch<T> &scratch, float *out, SoftmaxState *states) {
  const int dim = packed.dim;
  int first_visible[M], last_visible[M];  // the keys that each query sees
  for (int m = 0; m < M; m++) {
    const int last = queries.position(first + m) + 1 - from;
    last_visible[m] = std::max(0, std::min(packed.rows, last));
    first_visible[m] = std::max(0, std::min(last_visible[m], last - queries.window));
  }
  // The queries are in order of their positions. Keys before the first visible block are skipped.
  const int begin = first_visible[0] / LANES * LANES, end = last_visible[M - 1];
  const int length = padded(end - begin, LANES);
  if (end <= begin) {
    for (int m = 0; m < M; m++) states[m] = {MASKED_SCORE, 0.0f};
    return;
  }
  multiply_rows<M>(packed.key_blocks(begin), length, queries.rows + (size_t)first * dim, dim,
                   dim / PAIR<T>, scratch.scores, length);
  for (int m = 0; m < M; m++)
    states[m] = softmax(scratch.scores + m * length, scratch.probabilities + m * length,
                        std::max(0, first_visible[m] - begin),
                        std::max(0, last_visible[m] - begin), length);
  multiply_rows<M>(packed.value_blocks(begin), dim, scratch.probabilities, length,
                   (end - begin + PAIR<T> - 1) / PAIR<T>, out, dim);
}

// The same for `count` queries, at most M.
template <int M = QUERIES, class C, class T>
static inline void attend_some(int count, const Queries<T> &queries, int first,
                               const Packed<C> &packed, int from, const Scratch<T> &scratch,
                               float *out, SoftmaxState *states) {
  if (count == M) return attend<M>(queries, first, packed, from, scratch, out, states);
  if constexpr (M > 1)
    attend_some<M - 1>(count, queries, first, packed, from, scratch, out, states);
}
