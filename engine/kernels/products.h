// Products of a matrix with a few rows, y = Wx + b, limited by the memory bandwidth.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>

#include "dots.h"
#include "threads.h"
#include "vectors.h"

enum Kind : int32_t { FLOAT = 0, BF16 = 1, BF16_DOT = 2, INT8 = 3, INT4 = 4 };

// `weight` is (rows, columns) of floats, or of bfloat16 numbers for BF16 and BF16_DOT. Quantised
// weights are in blocks of 16 rows: see engine/network/quantised.py. `bias` may be null; otherwise it
// is padded to a multiple of 16.
struct Matrix {
  int32_t kind, rows, columns;
  const void *weight, *scale;
  const float *bias;

  bool is_quantised() const { return kind >= INT8; }

  // Whether activations are rounded to bfloat16, too: for BF16_DOT, on processors with bfloat16
  // dot products.
  bool rounds_activations() const {
#if defined(HAS_BF16_DOT)
    return kind == BF16_DOT && columns % (2 * LANES) == 0;
#else
    return false;
#endif
  }
};

constexpr int ACTIVATION_GROUP = 64;   // columns that share a scale, of an activation
constexpr int INT4_GROUP = 32;         // columns that share a scale, of a row in 4 bits
// Rows of activations, and blocks of 16 rows of weights, whose sums are in registers together: FEW
// where memory is the limit, MANY where arithmetic is.
constexpr bool MANY_REGISTERS = PART_BYTES == 64;
constexpr int FEW = MANY_REGISTERS ? 8 : 4, FEW_BLOCKS = 1;
constexpr int MANY = MANY_REGISTERS ? 6 : 4, MANY_BLOCKS = MANY_REGISTERS ? 4 : 1;
constexpr int SUMS = MANY_REGISTERS ? 20 : 4;
constexpr int PREFETCH_BYTES = 4096;  // distance of prefetching: about 100 ns of reading

// The rows that a matrix is multiplied with: as floats, and in the format that the matrix needs.
struct Rows {
  int count, columns;
  float *values;     // (count, columns)
  Bf16 *bf16;        // (count, columns)
  int8_t *bytes;     // (count, stride)
  float *scales;     // (count, groups)
  int32_t *sums;     // (count, groups): sums of the bytes of ACTIVATION_GROUP columns
  int32_t *partial;  // (count, stride / INT4_GROUP): sums of INT4_GROUP columns

  template <class X> const X *of() const {
    if constexpr (std::is_same_v<X, Bf16>) return bf16;
    else return values;
  }

  int stride() const { return padded(columns, ACTIVATION_GROUP); }
  int groups() const { return stride() / ACTIVATION_GROUP; }

  // Quantises one group of columns of a row.
  void quantise(int row, int group) {
    const float *x = values + (size_t)row * columns;
    int8_t *q = bytes + (size_t)row * stride();
    const int first = group * ACTIVATION_GROUP, last = std::min(first + ACTIVATION_GROUP, columns);
    Floats top{};
    for (int k = first; k < last; k += LANES) top = maximum(top, absolute(load<Floats>(x + k)));
    const float max = max_lane(top);
    const float inverse = max > 0 ? 127.0f / max : 0.0f;
    std::memset(q + first, 0, ACTIVATION_GROUP);
    int32_t total = 0;
    for (int k = first; k < first + ACTIVATION_GROUP; k += INT4_GROUP) {
      Ints part{};
      for (int i = k; i < std::min(k + INT4_GROUP, last); i += LANES) {
        const Ints n = rounded(load<Floats>(x + i) * inverse);
        store_bytes(q + i, n);
        part += n;
      }
      const int32_t part_sum = sum(part);
      partial[(size_t)row * (stride() / INT4_GROUP) + k / INT4_GROUP] = part_sum;
      total += part_sum;
    }
    scales[(size_t)row * groups() + group] = max / 127.0f;
    sums[(size_t)row * groups() + group] = total;
  }

  // Sets a row to what rounding to 8 bits has taken from the row before it, which is quantised.
  void set_remainder(int row) {
    const float *x = values + (size_t)(row - 1) * columns;
    const int8_t *q = bytes + (size_t)(row - 1) * stride();
    const float *scale = scales + (size_t)(row - 1) * groups();
    for (int k = 0; k < columns; k++)
      values[(size_t)row * columns + k] = x[k] - q[k] * scale[k / ACTIVATION_GROUP];
  }

  // Converts one group of columns of a row to the format that the matrix needs.
  void prepare(const Matrix &matrix, int row, int group) {
    if (matrix.is_quantised()) return quantise(row, group);
    if (!matrix.rounds_activations()) return;
    const int first = group * ACTIVATION_GROUP, last = std::min(first + ACTIVATION_GROUP, columns);
    for (size_t i = first, offset = (size_t)row * columns; i < (size_t)last; i += LANES)
      narrow(bf16 + offset + i, load<Floats>(values + offset + i));
  }

  void prepare(const Matrix &matrix, int row) {
    for (int group = 0; group < groups(); group++) prepare(matrix, row, group);
  }
};

// Products of J blocks of 16 quantised rows of weights with M rows from `first` on.
//
// Sums over a group of columns are exact. The sums of the groups are added as floats.
template <int BITS, int M, int J>
static inline void quantised_tile(const Matrix &a, int block, const Rows &x, int first,
                                  Floats (&out)[J][M]) {
  using Sums = std::conditional_t<BITS == 8, Sums8, Sums4>;
  constexpr int GROUP = BITS == 8 ? ACTIVATION_GROUP : INT4_GROUP;
  constexpr int STEP = BITS == 8 ? 4 : 8;  // columns in 64 bytes of 16 rows
  const int columns = padded(a.columns, INT4_GROUP), stride = x.stride();
  const size_t block_bytes = (size_t)columns * LANES * BITS / 8;
  const char *w = (const char *)a.weight + block * block_bytes;
  const int8_t *bytes = x.bytes + (size_t)first * stride;
  UNROLL
  for (int j = 0; j < J; j++)
    UNROLL
    for (int m = 0; m < M; m++) out[j][m] = Floats{};
  for (int k = 0; k < columns; k += GROUP) {
    Sums acc[J][M];
    int32_t sums[M];
    const int group = k / ACTIVATION_GROUP, end = std::min(k + GROUP, columns);
    UNROLL
    for (int m = 0; m < M; m++) {
      sums[m] = BITS == 8 ? x.sums[(first + m) * x.groups() + group]
                          : x.partial[(first + m) * (stride / INT4_GROUP) + k / GROUP];
      UNROLL
      for (int j = 0; j < J; j++) acc[j][m].start(sums[m]);
    }
    for (int i = k; i < end; i += STEP) {
      UNROLL
      for (int j = 0; j < J; j++) {
        const char *packed_w = w + j * block_bytes + (size_t)i / STEP * 64;
        if (J == 1) __builtin_prefetch(packed_w + PREFETCH_BYTES, 0, 3);
        const Ints packed = load<Ints>(packed_w);
        UNROLL
        for (int m = 0; m < M; m++) {
          const int8_t *row_bytes = bytes + m * stride + i;
          if (BITS == 8) {
            acc[j][m].add(packed, load<int32_t>(row_bytes));
          } else {
            acc[j][m].add(packed & 0x0f0f0f0f, load<int32_t>(row_bytes));
            acc[j][m].add((packed >> 4) & 0x0f0f0f0f, load<int32_t>(row_bytes + 4));
          }
        }
      }
    }
    UNROLL
    for (int j = 0; j < J; j++) {
      Floats scale = broadcast(1.0f);
      if (BITS == 4)
        scale = widen((const Bf16 *)a.scale +
                      ((size_t)(block + j) * (columns / GROUP) + k / GROUP) * LANES);
      UNROLL
      for (int m = 0; m < M; m++)
        out[j][m] += to_floats(acc[j][m].total(sums[m])) * scale *
                     x.scales[(first + m) * x.groups() + group];
    }
  }
  if (BITS == 8)
    UNROLL
    for (int j = 0; j < J; j++)
      UNROLL
      for (int m = 0; m < M; m++)
        out[j][m] *= load<Floats>((const float *)a.scale + (size_t)(block + j) * LANES);
}

// Returns one quantised weight.
static inline float weight_at(const Matrix &a, int row, int column) {
  const int block = row / LANES, lane = row % LANES, columns = padded(a.columns, INT4_GROUP);
  const uint8_t *w = (const uint8_t *)a.weight;
  if (a.kind == INT8) {
    const size_t index = ((size_t)block * columns + column / 4 * 4) * LANES + lane * 4 + column % 4;
    return (w[index] - 128) * ((const float *)a.scale)[row];
  }
  const size_t index = ((size_t)block * columns / 2 + column / 8 * 4) * LANES + lane * 4 + column % 4;
  const int number = (column % 8 < 4 ? w[index] & 15 : w[index] >> 4) - 8;
  const size_t group = ((size_t)block * (columns / INT4_GROUP) + column / INT4_GROUP) * LANES;
  float scales[LANES];
  store(scales, widen((const Bf16 *)a.scale + group));
  return number * scales[lane];
}

// Returns sixteen weights of a row, of any kind.
static inline Floats weights_at(const Matrix &a, int row, int column) {
  const size_t index = (size_t)row * a.columns + column;
  if (a.kind == FLOAT) return load<Floats>((const float *)a.weight + index);
  if (!a.is_quantised()) return widen((const Bf16 *)a.weight + index);
  float values[LANES];
  for (int i = 0; i < LANES; i++) values[i] = weight_at(a, row, column + i);
  return load<Floats>(values);
}

// Adds sixteen products, or sixteen pairs of products.
template <class W> INLINE Floats add_products(const Floats &total, const W *w, const float *x) {
  return total + widen(w) * load<Floats>(x);
}

#if defined(HAS_BF16_DOT)
INLINE Floats add_products(const Floats &total, const Bf16 *w, const Bf16 *x) {
  return dot_bf16(total, load<__m512i>(w), load<__m512i>(x));
}
#endif

// Products of 16 rows of weights of type W with M rows of activations of type X, R rows at a time.
template <class W, class X, int M>
static inline void plain_tile(const Matrix &a, int block, const Rows &x, int first,
                              Floats (&out)[1][M]) {
  constexpr int R = 4 * M <= SUMS ? 4 : 2 * M <= SUMS ? 2 : 1;
  constexpr size_t STEP = LANES * sizeof(float) / sizeof(X);
  const size_t columns = a.columns;
  const X *rows = x.of<X>() + first * columns;
  float sums[M][LANES];
  for (int r = 0; r < LANES; r += R) {
    const W *w[R];
    UNROLL
    for (int i = 0; i < R; i++)
      w[i] = (const W *)a.weight + std::min(block * LANES + r + i, a.rows - 1) * columns;
    Floats acc[R][M];
    UNROLL
    for (int i = 0; i < R; i++)
      UNROLL
      for (int m = 0; m < M; m++) acc[i][m] = Floats{};
    for (size_t k = 0; k < columns; k += STEP) {
      UNROLL
      for (int i = 0; i < R; i++) {
        __builtin_prefetch(w[i] + k + std::max((size_t)R * columns, PREFETCH_BYTES / sizeof(W)), 0, 2);
        UNROLL
        for (int m = 0; m < M; m++)
          acc[i][m] = add_products(acc[i][m], w[i] + k, rows + m * columns + k);
      }
    }
    UNROLL
    for (int i = 0; i < R; i++)
      UNROLL
      for (int m = 0; m < M; m++) sums[m][r + i] = sum(acc[i][m]);
  }
  for (int m = 0; m < M; m++) out[0][m] = load<Floats>(sums[m]);
}

template <int M, int J>
static inline void tile(const Matrix &a, int block, const Rows &x, int first, Floats (&out)[J][M]) {
  if (a.kind == INT8) return quantised_tile<8>(a, block, x, first, out);
  if (a.kind == INT4) return quantised_tile<4>(a, block, x, first, out);
  if constexpr (J == 1) {
#if defined(HAS_BF16_DOT)
    if (a.rounds_activations()) return plain_tile<Bf16, Bf16>(a, block, x, first, out);
#endif
    if (a.kind != FLOAT) return plain_tile<Bf16, float>(a, block, x, first, out);
    return plain_tile<float, float>(a, block, x, first, out);
  }
}

// Calls `done(row, first column of y, 16 values)` for M rows from `first` on and J blocks.
template <int M, int J, class Done>
static inline void finish_tile(const Matrix &a, int block, const Rows &x, int first, Done &&done) {
  Floats out[J][M];
  tile<M, J>(a, block, x, first, out);
  UNROLL
  for (int j = 0; j < J; j++)
    UNROLL
    for (int m = 0; m < M; m++) {
      const int column = (block + j) * LANES;
      done(first + m, column, a.bias ? out[j][m] + load<Floats>(a.bias + column) : out[j][m]);
    }
}

template <int M, int J, class Done>
static inline void tile_of(int count, const Matrix &a, int block, const Rows &x, int first,
                           Done &&done) {
  if (count == M) return finish_tile<M, J>(a, block, x, first, done);
  if constexpr (M > 1) tile_of<M - 1, J>(count, a, block, x, first, done);
}

// Multiplies the blocks from `from` to `to`, J at a time, with all rows, at most M at a time.
template <int M, int J, class Done>
static inline void multiply_blocks(const Matrix &a, const Rows &x, int from, int to, Done &&done) {
  const int tiles = (x.count + M - 1) / M, max_rows = (x.count + tiles - 1) / tiles;
  int block = from;
  for (; block + J <= to; block += J)
    for (int row = 0; row < x.count; row += max_rows)
      tile_of<M, J>(std::min(max_rows, x.count - row), a, block, x, row, done);
  if constexpr (J > 1) multiply_blocks<FEW, FEW_BLOCKS>(a, x, block, to, done);
}

// Computes y = Wx + b with all threads of a team. One thread computes each `unit` blocks of 16 rows
// of weights, in order.
template <class Done>
static inline void multiply(const Matrix &a, const Rows &x, Team &team, Done &&done, int unit = 1) {
  const bool many = x.count > FEW && a.is_quantised();
  const int blocks = x.count ? padded(a.rows, LANES) / LANES : 0;
  team.share(blocks, std::max(unit, many ? MANY_BLOCKS : 1), [&](int from, int to) {
    if (many)
      multiply_blocks<MANY, MANY_BLOCKS>(a, x, from, to, done);
    else
      multiply_blocks<FEW, FEW_BLOCKS>(a, x, from, to, done);
  });
}
