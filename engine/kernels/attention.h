// Multi-query attention as products of matrices.
//
// All heads share keys and values, so every head of every row of a sequence is a row of one matrix
// of queries. Keys and values are put into the order in which the products read them once for all
// of these. Each row's arithmetic is the same however many rows are computed with it.
#pragma once

#include <algorithm>
#include <type_traits>

#include "vectors.h"

constexpr int QUERIES = 6;                      // queries that are computed together,
constexpr int COLUMNS = PART_BYTES == 64 ? 4 : 1;  // with so many times 16 columns
constexpr int CHUNK = 128;                      // keys that one thread attends to at a time
constexpr float NOTHING = -1e30f;               // the score of a key that is not to be seen

// What queries, keys, values and shares are multiplied as. PAIR neighbours make up 32 bits.
#if defined(HAS_BF16_DOT)
template <class Kept> using Factor = Kept;
#else
template <class Kept> using Factor = float;
#endif
template <class T> constexpr int PAIR = sizeof(float) / sizeof(T);

INLINE Floats add_product(const Floats &total, const void *w, const float *x) {
  return total + load<Floats>(w) * x[0];
}

#if defined(HAS_BF16_DOT)
INLINE Floats add_product(const Floats &total, const void *w, const Bf16 *x) {
  return bf16_dots(total, load<__m512i>(w), _mm512_set1_epi32(load<int32_t>(x)));
}
#endif

// Numbers in the order in which products read them: blocks of 16 columns, `block` apart, whose rows,
// or pairs of rows, are `step` apart.
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
  const auto some = [&](int at, auto &found) __attribute__((always_inline)) {
    constexpr int J = sizeof found[0] / sizeof(Floats);
    product_tile<T, M, J>(blocks, at, x, stride, steps, found);
    for (int m = 0; m < M; m++)
      for (int j = 0; j < J; j++) store(out + m * out_stride + at + j * LANES, found[m][j]);
  };
  int at = 0;
  if constexpr (COLUMNS > 1)
    for (Floats found[M][COLUMNS]; at + COLUMNS * LANES <= columns; at += COLUMNS * LANES)
      some(at, found);
  for (Floats found[M][1]; at < columns; at += LANES) some(at, found);
}

// Keys and values of a cache of C, packed: blocks of 16 keys, and blocks of 16 dimensions. Values that
// can be multiplied as they lie there are left there.
template <class C> struct Packed {
  using T = Factor<C>;
  static constexpr bool IN_PLACE = std::is_same_v<C, float>;
  T *keys, *values;
  const C *of_keys, *of_values;
  int rows, length, dim;  // the length is the rows' next multiple of 16

  static size_t bytes(int length, int dim) { return 2 * sizeof(T) * (size_t)length * dim; }

  // `rows` rows of a cache from `keys` and `values` on.
  Packed(char *memory, const C *of_keys, const C *of_values, int rows, int dim)
      : keys((T *)memory), of_keys(of_keys), of_values(of_values), rows(rows),
        length(padded(rows, LANES)), dim(dim) {
    values = keys + (size_t)length * dim;
  }

  Blocks<T> key_blocks() const { return {keys, (size_t)LANES * dim, LANES * PAIR<T>}; }

  Blocks<T> value_blocks() const {
    if constexpr (IN_PLACE) return {of_values, LANES, (size_t)dim};
    else return {values, (size_t)LANES * length, LANES * PAIR<T>};
  }

  // Packs 16 rows; zeros are for those that there are not.
  void pack(int first) const {
    const C *from = of_keys + (size_t)first * dim;
    T *to = keys + (size_t)first * dim;
    for (int ahead = 0; ahead < LANES * dim; ahead += 64 / sizeof(C))
      __builtin_prefetch(from + (size_t)LANES * dim + ahead, 0, 3);
    for (int column = 0; column < dim; column += LANES * PAIR<T>) {
      const int left = dim - column;
      Ints lines[LANES];
      for (int i = 0; i < LANES; i++)
        lines[i] = first + i < rows ? piece(from + (size_t)i * dim + column, left) : Ints{};
      transpose(lines);
      for (int i = 0; i < std::min(LANES, left / PAIR<T>); i++)
        store(to + (size_t)column * LANES + i * LANES * PAIR<T>, lines[i]);
    }
    if constexpr (!IN_PLACE)
      for (int i = first; i < first + LANES; i += PAIR<T>)
        for (int column = 0; column < dim; column += LANES)
          store(values + (size_t)column * length + (size_t)i * LANES,
                beside(of_values + (size_t)i * dim + column, rows - i));
  }

 private:
  // Sixteen times 32 bits of a row that has `left` numbers left.
  static Ints piece(const C *from, int left) {
    if constexpr (PAIR<T> == 1) return as_ints(widen(from));
    if (left >= LANES * PAIR<T>) return load<Ints>(from);
    Ints some{};
    std::memcpy(&some, from, sizeof(C) * LANES);
    return some;
  }

  // Sixteen columns of a row, with those of the next where numbers come in pairs.
  Ints beside(const C *from, int rows) const {
    if constexpr (PAIR<T> == 1) {
      return rows > 0 ? as_ints(widen(from)) : Ints{};
    } else {
      const Ints low = rows > 0 ? load_halves(&from->bits) : Ints{};
      return rows > 1 ? low | load_halves(&from[dim].bits) << 16 : low;
    }
  }
};

// All queries of a sequence, scaled: row i is head i % heads of position start + i / heads.
template <class T> struct Queries {
  const T *rows;
  int start, heads;
};

// What a query saw in some of the keys: `total` is what its values are yet to be divided by.
struct Seen {
  float most, total;
};

// What one thread needs for scores and shares of `length` keys.
template <class T> struct Scratch {
  float *scores;
  T *shares;

  static size_t bytes(int length) { return QUERIES * (size_t)length * (sizeof(float) + sizeof(T)); }

  Scratch(char *memory, int length)
      : scores((float *)memory), shares((T *)(scores + QUERIES * (size_t)length)) {}
};

// Makes shares of the scores of the first `count` keys of `length`.
template <class T> INLINE Seen soften(float *scores, T *shares, int count, int length) {
  for (int n = count; n < length; n++) scores[n] = NOTHING;
  Floats top = load<Floats>(scores), total{};
  for (int n = LANES; n < length; n += LANES) top = larger(top, load<Floats>(scores + n));
  const float most = largest(top);
  for (int n = 0; n < length; n += LANES) {
    const Floats share = exponential(load<Floats>(scores + n) - most);
    narrow(shares + n, share);
    total += share;
  }
  return {most, count > 0 ? sum(total) : 0.0f};
}

// What M queries from `first` on see of packed keys, which begin at position `from`.
template <int M, class C, class T>
static void attend(const Queries<T> &queries, int first, const Packed<C> &packed, int from,
                   const Scratch<T> &scratch, float *out, Seen *seen) {
  const int dim = packed.dim;
  int counts[M];
  for (int m = 0; m < M; m++) {
    const int sees = queries.start + (first + m) / queries.heads + 1 - from;
    counts[m] = std::max(0, std::min(packed.rows, sees));
  }
  const int most = counts[M - 1], length = padded(most, LANES);
  if (most == 0) {
    for (int m = 0; m < M; m++) seen[m] = {NOTHING, 0.0f};
    return;
  }
  multiply_rows<M>(packed.key_blocks(), length, queries.rows + (size_t)first * dim, dim,
                   dim / PAIR<T>, scratch.scores, length);
  for (int m = 0; m < M; m++)
    seen[m] = soften(scratch.scores + m * length, scratch.shares + m * length, counts[m], length);
  multiply_rows<M>(packed.value_blocks(), dim, scratch.shares, length,
                   (most + PAIR<T> - 1) / PAIR<T>, out, dim);
}

template <int M = QUERIES, class C, class T>
static inline void attend_some(int count, const Queries<T> &queries, int first,
                               const Packed<C> &packed, int from, const Scratch<T> &scratch,
                               float *out, Seen *seen) {
  if (count == M) return attend<M>(queries, first, packed, from, scratch, out, seen);
  if constexpr (M > 1)
    attend_some<M - 1>(count, queries, first, packed, from, scratch, out, seen);
}
