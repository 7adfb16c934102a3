// Products of a matrix with a few rows: y = Wx + b, read at the rate of the memory.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>

#include "vectors.h"

enum Kind : int32_t { FLOAT = 0, BRAIN = 1, INT8 = 2, INT4 = 3 };

// `weight` is (rows, columns) of FLOAT or BRAIN; or quantised, in blocks of 16 rows: see
// engine/quantised.py. `bias` may be null; else it has 16-fold length.
struct Matrix {
  int32_t kind, rows, columns;
  const void *weight, *scale;
  const float *bias;
};

constexpr int ACTIVATION_GROUP = 128;  // columns that share a scale, of an activation
constexpr int INT4_GROUP = 32;         // columns that share a scale, of a row in 4 bits
constexpr int TILE_ROWS = 8;
constexpr int AHEAD = 4096;  // bytes that are fetched before they are wanted: some 100 ns of them

template <class N> static inline N padded(N n, int to) { return (n + to - 1) / to * to; }

// Rows that a matrix is to be multiplied with: as they are, and in 8 bits for quantised weights.
struct Rows {
  int count, columns;
  float *values;     // (count, columns)
  int8_t *bytes;     // (count, stride)
  float *scales;     // (count, groups)
  int32_t *sums;     // (count, groups): of the bytes, of ACTIVATION_GROUP columns
  int32_t *partial;  // (count, stride / INT4_GROUP): of INT4_GROUP columns

  int stride() const { return padded(columns, ACTIVATION_GROUP); }
  int groups() const { return stride() / ACTIVATION_GROUP; }

  void quantise(int row) {
    const float *x = values + (size_t)row * columns;
    int8_t *q = bytes + (size_t)row * stride();
    for (int group = 0; group < groups(); group++) {
      const int first = group * ACTIVATION_GROUP;
      const int last = std::min(first + ACTIVATION_GROUP, columns);
      Floats top{};
      for (int k = first; k < last; k += LANES) {
        const Floats v = load<Floats>(x + k);
        top = larger(top, larger(v, -v));
      }
      const float most = largest(top);
      const float inverse = most > 0 ? 127.0f / most : 0.0f;
      std::memset(q + first, 0, ACTIVATION_GROUP);
      int32_t total = 0;
      for (int k = first; k < first + ACTIVATION_GROUP; k += INT4_GROUP) {
        Ints part{};
        for (int i = k; i < std::min(k + INT4_GROUP, last); i += LANES) {
          const Ints n = rounded(load<Floats>(x + i) * inverse);
          store(q + i, __builtin_convertvector(n, Bytes));
          part += n;
        }
        int32_t here = 0;
        for (int i = 0; i < LANES; i++) here += part[i];
        partial[(size_t)row * (stride() / INT4_GROUP) + k / INT4_GROUP] = here;
        total += here;
      }
      scales[(size_t)row * groups() + group] = most / 127.0f;
      sums[(size_t)row * groups() + group] = total;
    }
  }
};

// The products of J blocks of 16 quantised rows of weights with M rows from `first` on.
//
// Weights are kept with an offset, since the processor multiplies unsigned with signed bytes; the
// sums of the activations take it out again, exactly.
template <int BITS, int M, int J>
static inline void quantised_tile(const Matrix &a, int block, const Rows &x, int first,
                                  Floats (&out)[J][M]) {
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
    Ints acc[J][M];
    const int group = k / ACTIVATION_GROUP, end = std::min(k + GROUP, columns);
    UNROLL
    for (int m = 0; m < M; m++) {
      const int32_t sum = BITS == 8 ? x.sums[(first + m) * x.groups() + group]
                                    : x.partial[(first + m) * (stride / INT4_GROUP) + k / GROUP];
      UNROLL
      for (int j = 0; j < J; j++) acc[j][m] = Ints{} - (BITS == 8 ? 128 : 8) * sum;
    }
    for (int i = k; i < end; i += STEP) {
      UNROLL
      for (int j = 0; j < J; j++) {
        const char *at = w + j * block_bytes + (size_t)i / STEP * 64;
        if (J == 1) __builtin_prefetch(at + AHEAD, 0, 3);
        const Ints packed = load<Ints>(at);
        UNROLL
        for (int m = 0; m < M; m++) {
          const int8_t *of_row = bytes + m * stride + i;
          if (BITS == 8) {
            acc[j][m] = dot4(acc[j][m], packed, load<int32_t>(of_row));
          } else {
            acc[j][m] = dot4(acc[j][m], packed & 0x0f0f0f0f, load<int32_t>(of_row));
            acc[j][m] = dot4(acc[j][m], (packed >> 4) & 0x0f0f0f0f, load<int32_t>(of_row + 4));
          }
        }
      }
    }
    UNROLL
    for (int j = 0; j < J; j++) {
      Floats scale = all(1.0f);
      if (BITS == 4)
        scale = widen((const Brain *)a.scale +
                      ((size_t)(block + j) * (columns / GROUP) + k / GROUP) * LANES);
      UNROLL
      for (int m = 0; m < M; m++)
        out[j][m] += __builtin_convertvector(acc[j][m], Floats) * scale *
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

// One quantised weight.
static inline float weight_at(const Matrix &a, int row, int column) {
  const int block = row / LANES, lane = row % LANES, columns = padded(a.columns, INT4_GROUP);
  const uint8_t *w = (const uint8_t *)a.weight;
  if (a.kind == INT8) {
    const size_t at = ((size_t)block * columns + column / 4 * 4) * LANES + lane * 4 + column % 4;
    return (w[at] - 128) * ((const float *)a.scale)[row];
  }
  const size_t at = ((size_t)block * columns / 2 + column / 8 * 4) * LANES + lane * 4 + column % 4;
  const int number = (column % 8 < 4 ? w[at] & 15 : w[at] >> 4) - 8;
  const size_t group = ((size_t)block * (columns / INT4_GROUP) + column / INT4_GROUP) * LANES;
  return number * widen((const Brain *)a.scale + group)[lane];
}

// The same for rows of weights that are kept as they are, R of them at a time.
template <class W, int M>
static inline void plain_tile(const Matrix &a, int block, const Rows &x, int first,
                              Floats (&out)[1][M]) {
  constexpr int R = M <= 4 ? 4 : 2;
  const size_t columns = a.columns;
  const float *rows = x.values + first * columns;
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
    for (size_t k = 0; k < columns; k += LANES) {
      UNROLL
      for (int i = 0; i < R; i++) {
        __builtin_prefetch(w[i] + k + std::max((size_t)R * columns, AHEAD / sizeof(W)), 0, 2);
        const Floats v = widen(w[i] + k);
        UNROLL
        for (int m = 0; m < M; m++) acc[i][m] += v * load<Floats>(rows + m * columns + k);
      }
    }
    UNROLL
    for (int i = 0; i < R; i++)
      UNROLL
      for (int m = 0; m < M; m++) out[0][m][r + i] = sum(acc[i][m]);
  }
}

template <int M, int J>
static inline void tile(const Matrix &a, int block, const Rows &x, int first, Floats (&out)[J][M]) {
  if (a.kind == INT8) return quantised_tile<8>(a, block, x, first, out);
  if (a.kind == INT4) return quantised_tile<4>(a, block, x, first, out);
  if constexpr (J == 1) {
    if (a.kind == BRAIN) return plain_tile<Brain>(a, block, x, first, out);
    return plain_tile<float>(a, block, x, first, out);
  }
}

// Calls `done(row, first column of y, 16 values)` for M rows from `first` and J blocks.
template <int M, int J, class Done>
static inline void finish_tile(const Matrix &a, int block, const Rows &x, int first, Done &&done) {
  Floats out[J][M];
  tile<M, J>(a, block, x, first, out);
  UNROLL
  for (int j = 0; j < J; j++)
    UNROLL
    for (int m = 0; m < M; m++) {
      const int at = (block + j) * LANES;
      done(first + m, at, a.bias ? out[j][m] + load<Floats>(a.bias + at) : out[j][m]);
    }
}

template <int M, int J, class Done>
static inline void tile_of(int count, const Matrix &a, int block, const Rows &x, int first,
                           Done &&done) {
  if (count == M) return finish_tile<M, J>(a, block, x, first, done);
  if constexpr (M > 1) tile_of<M - 1, J>(count, a, block, x, first, done);
}

// All of y = Wx + b, shared among the threads that call it with the same counter, which is at 0.
template <class Done>
static inline void multiply(const Matrix &a, const Rows &x, std::atomic<int> &next, int threads,
                            Done &&done) {
  const int blocks = padded(a.rows, LANES) / LANES;
  const bool wide = x.count > 2 * TILE_ROWS && a.kind >= INT8;  // then arithmetic is the limit
  const int most = wide ? 6 : TILE_ROWS;
  const int share = wide ? 4 : std::max(1, blocks / (threads * 8));
  for (int from; (from = next.fetch_add(share)) < blocks;) {
    const int to = std::min(from + share, blocks);
    if (wide && to - from == 4) {
      for (int row = 0; row < x.count; row += most)
        tile_of<6, 4>(std::min(most, x.count - row), a, from, x, row, done);
      continue;
    }
    for (int block = from; block < to; block++)
      for (int row = 0; row < x.count; row += most)
        tile_of<TILE_ROWS, 1>(std::min(most, x.count - row), a, block, x, row, done);
  }
}
