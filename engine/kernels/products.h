// Products of a matrix with a few rows, y = Wx + b, limited by the memory bandwidth.
#pragma once

#include <type_traits>

#include "operands.h"
#include "threads.h"

// Sums in registers of a product of weights that are not quantised.
constexpr int SUMS = MANY_REGISTERS ? 20 : 4;
constexpr int PREFETCH_BYTES = 4096;  // distance of prefetching: about 100 ns of reading

// The values of 4-bit weights of one group and 16 rows: scale * number + minimum.
struct Grid {
  Floats scale, minimum;

  // `from` has a scale and a minimum, in bfloat16, for each of the rows.
  INLINED explicit Grid(const void *from) {
    const Ints pairs = load<Ints>(from);
    scale = as_floats(pairs << 16);
    minimum = as_floats(pairs & (int32_t)0xffff0000);
  }
};

static inline const void *grid_address(const Matrix &a, int block, int column) {
  const int groups = padded(a.columns, INT4_GROUP) / INT4_GROUP;
  return (const Ints *)a.scale + (size_t)block * groups + column / INT4_GROUP;
}

// Adds the products of four columns. An activation is loaded once for all blocks.
template <class Sums, int M, int J>
INLINE void add_columns(Sums (&acc)[J][M], const Ints (&w)[J], const int32_t *words) {
  UNROLL
  for (int m = 0; m < M; m++) {
    UNROLL
    for (int j = 0; j < J; j++) acc[j][m].add(w[j], words[m]);
  }
}

// Products of J blocks of 16 quantised rows of weights with M rows from `first` on.
//
// Sums over a group of columns are exact. The sums of the groups are added as floats. The function is
// not inlined: with the addresses of its callers, GCC would keep sums in memory.
template <int BITS, int M, int J>
__attribute__((noinline)) static void quantised_tile(const Matrix &a, int block, const Rows &x,
                                                     int first, Floats (&out)[J][M]) {
  using Sums = std::conditional_t<BITS == 8, Sums8, Sums4>;
  constexpr int GROUP = BITS == 8 ? ACTIVATION_GROUP : INT4_GROUP;
  constexpr int STEP = BITS == 8 ? 4 : 8;  // columns in 64 bytes of 16 rows
  const int columns = padded(a.columns, INT4_GROUP), tile = x.tile;
  const size_t block_bytes = (size_t)columns * LANES * BITS / 8;
  const char *w = (const char *)a.weight + block * block_bytes;
  const int32_t *words = x.words + x.place(first, 0, x.stride() / 4);
  const QuantisedGroup *groups = x.groups + x.place(first, 0, x.num_groups());
  Floats total[J][M];  // GCC would write `out` to memory after each group
  UNROLL
  for (int j = 0; j < J; j++)
    UNROLL
    for (int m = 0; m < M; m++) total[j][m] = Floats{};
  for (int k = 0; k < columns; k += GROUP) {
    Sums acc[J][M];
    const QuantisedGroup *group = groups + (size_t)(k / ACTIVATION_GROUP) * tile;
    UNROLL
    for (int m = 0; m < M; m++)
      UNROLL
      for (int j = 0; j < J; j++) acc[j][m].start(BITS == 8 ? group[m].start : 0);
    const int end = std::min(k + GROUP, columns);
    for (int i = k; i < end; i += STEP) {
      Ints packed[J];
      UNROLL
      for (int j = 0; j < J; j++) {
        if (J == 1) __builtin_prefetch(w + PREFETCH_BYTES, 0, 3);
        packed[j] = load<Ints>(w + j * block_bytes);
      }
      w += 64;
      if constexpr (BITS == 8) {
        add_columns(acc, packed, words);
      } else {
        Ints four_bits[J];
        UNROLL
        for (int j = 0; j < J; j++) four_bits[j] = packed[j] & 0x0f0f0f0f;
        add_columns(acc, four_bits, words);
        words += tile;
        UNROLL
        for (int j = 0; j < J; j++) four_bits[j] = (packed[j] >> 4) & 0x0f0f0f0f;
        add_columns(acc, four_bits, words);
      }
      words += tile;
    }
    UNROLL
    for (int j = 0; j < J; j++) {
      if constexpr (BITS == 8) {
        UNROLL
        for (int m = 0; m < M; m++) total[j][m] += to_floats(acc[j][m].total()) * group[m].scale;
      } else {
        const Grid grid(grid_address(a, block + j, k));
        const int part = k / INT4_GROUP % (ACTIVATION_GROUP / INT4_GROUP);
        UNROLL
        for (int m = 0; m < M; m++) {
          total[j][m] += grid.minimum * group[m].sums[part];
          total[j][m] += to_floats(acc[j][m].total()) * grid.scale * group[m].scale;
        }
      }
    }
  }
  UNROLL
  for (int j = 0; j < J; j++) {
    const Floats scale =
        BITS == 8 ? load<Floats>((const float *)a.scale + (size_t)(block + j) * LANES) : broadcast(1);
    UNROLL
    for (int m = 0; m < M; m++) out[j][m] = total[j][m] * scale;
  }
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
  const int number = column % 8 < 4 ? w[index] & 15 : w[index] >> 4;
  const Grid grid(grid_address(a, block, column));
  float scales[LANES], minima[LANES];
  store(scales, grid.scale);
  store(minima, grid.minimum);
  return number * scales[lane] + minima[lane];
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
// Eight rows are read 10 % faster than four, where memory is fast; sixteen are slower.
template <class W, class X, int M>
static inline void plain_tile(const Matrix &a, int block, const Rows &x, int first,
                              Floats (&out)[1][M]) {
  constexpr int R = 8 * M <= SUMS ? 8 : 4 * M <= SUMS ? 4 : 2 * M <= SUMS ? 2 : 1;
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
  int block = from;
  for (; block + J <= to; block += J)
    for (int row = 0; row < x.count; row += x.tile)
      tile_of<M, J>(std::min(x.tile, x.count - row), a, block, x, row, done);
  if constexpr (J > 1) multiply_blocks<M, 1>(a, x, block, to, done);
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
