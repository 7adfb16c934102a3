// Multi-query attention of many consecutive query rows over one cache: products of matrices.
//
// Keys and values are put once into the order in which the products read them; all heads share
// them. Scores of a few rows over all keys fit a core's cache, so the softmax is the plain one.
#pragma once

#include "products.h"

constexpr int KEYS_PADDED = 64;  // keys are padded to a multiple
constexpr int WIDE_ROWS = 6;     // query rows of one head that are computed together
constexpr int WIDE_BLOCKS = 4;   // by 16 columns

// How 64 bytes of packed numbers are multiplied with one number, or one pair, of a row.
template <class T> struct Dot;

template <> struct Dot<float> {
  static constexpr int PAIR = 1;
  static Floats add(Floats total, const void *w, const float *x) {
    return total + load<Floats>(w) * x[0];
  }
};

template <> struct Dot<Brain> {
  static constexpr int PAIR = 2;
  static Floats add(Floats total, const void *w, const Brain *x) {
#if defined(__AVX512BF16__)
    return (Floats)_mm512_dpbf16_ps((__m512)total, (__m512bh)load<__m512i>(w),
                                    (__m512bh)_mm512_set1_epi32(load<int32_t>(x)));
#else
    const Ints both = load<Ints>(w);
    const int32_t pair = load<int32_t>(x);
    const Ints low = Ints{} + (pair << 16), high = Ints{} + (pair & ~0xffff);
    return total + (Floats)(both << 16) * (Floats)low + (Floats)(both & ~0xffff) * (Floats)high;
#endif
  }
};

// out[m][16 j + lane] of M rows x (M, stride) with J blocks w of `steps` times 64 bytes.
template <class T, int M, int J>
static inline void wide_tile(const T *w, size_t block, const T *x, size_t stride, int steps,
                             Floats (&out)[M][J]) {
  constexpr int PAIR = Dot<T>::PAIR;
  UNROLL
  for (int m = 0; m < M; m++)
    UNROLL
    for (int j = 0; j < J; j++) out[m][j] = Floats{};
  for (int s = 0; s < steps; s++)
    UNROLL
    for (int j = 0; j < J; j++)
      UNROLL
      for (int m = 0; m < M; m++)
        out[m][j] = Dot<T>::add(out[m][j], w + j * block + (size_t)s * LANES * PAIR,
                                x + m * stride + (size_t)s * PAIR);
}

// The keys and values of a layer, packed: blocks of 16 keys, and blocks of 16 dimensions.
template <class T> struct Packed {
  static constexpr int PAIR = Dot<T>::PAIR;
  T *keys, *values;
  int length, dim;  // the length is padded

  static T at(const T *from, int row, int column, int rows, int dim) {
    return row < rows ? from[(size_t)row * dim + column] : T{};
  }

  // Packs the 16 rows from `first` on, of `rows` that there are.
  void pack(const T *from_keys, const T *from_values, int first, int rows) {
    T *to = keys + (size_t)first * dim;
    for (int k = 0; k < dim; k++)
      for (int lane = 0; lane < LANES; lane++)
        to[((size_t)(k / PAIR) * LANES + lane) * PAIR + k % PAIR] =
            at(from_keys, first + lane, k, rows, dim);
    for (int k = first; k < first + LANES; k++)
      for (int column = 0; column < dim; column++)
        values[(size_t)(column / LANES) * length * LANES +
               ((size_t)(k / PAIR) * LANES + column % LANES) * PAIR + k % PAIR] =
            at(from_values, k, column, rows, dim);
  }
};

// What one thread needs.
template <class T> struct WideScratch {
  T *query;       // (WIDE_ROWS, dim)
  float *scores;  // (WIDE_ROWS, length)
  T *shares;      // the same, after the softmax

  static size_t bytes(int dim, int length) {
    return WIDE_ROWS * ((size_t)dim + 2 * (size_t)length) * sizeof(float) + 64;
  }

  WideScratch(char *memory, int dim, int length) {
    scores = (float *)memory;
    shares = (T *)(scores + WIDE_ROWS * (size_t)length);
    query = shares + WIDE_ROWS * (size_t)length;
  }
};

// Attention of M rows: `q` and `out` are (M, stride), row m sees `seen + m` keys.
template <class T, int M>
static inline void attend_wide(const Packed<T> &packed, const float *q, size_t stride, int seen,
                               float scale, const WideScratch<T> &scratch, float *out) {
  constexpr int PAIR = Dot<T>::PAIR, COLUMNS = WIDE_BLOCKS * LANES;
  const int dim = packed.dim, length = padded(seen + M - 1, KEYS_PADDED);
  for (int m = 0; m < M; m++)
    for (int i = 0; i < dim; i += LANES)
      narrow(scratch.query + m * dim + i, load<Floats>(q + m * stride + i) * scale);
  for (int n = 0; n < length; n += COLUMNS) {
    Floats found[M][WIDE_BLOCKS];
    wide_tile<T, M, WIDE_BLOCKS>(packed.keys + (size_t)n * dim, (size_t)LANES * dim, scratch.query,
                                 dim, dim / PAIR, found);
    for (int m = 0; m < M; m++)
      for (int j = 0; j < WIDE_BLOCKS; j++)
        store(scratch.scores + (size_t)m * length + n + j * LANES, found[m][j]);
  }
  float inverse[M];
  for (int m = 0; m < M; m++) {
    float *row = scratch.scores + (size_t)m * length;
    for (int n = seen + m; n < length; n++) row[n] = -1e30f;
    Floats top = load<Floats>(row), sums{};
    for (int n = LANES; n < length; n += LANES) top = larger(top, load<Floats>(row + n));
    const float most = largest(top);
    for (int n = 0; n < length; n += LANES) {
      const Floats share = exponential(load<Floats>(row + n) - most);
      narrow(scratch.shares + (size_t)m * length + n, share);
      sums += share;
    }
    inverse[m] = 1.0f / sum(sums);
  }
  const size_t block = (size_t)LANES * packed.length;
  const auto mix = [&](int i, auto &found) {
    constexpr int J = sizeof found[0] / sizeof(Floats);
    wide_tile<T, M, J>(packed.values + i / LANES * block, block, scratch.shares, length,
                       length / PAIR, found);
    for (int m = 0; m < M; m++)
      for (int j = 0; j < J; j++)
        store(out + m * stride + i + j * LANES, found[m][j] * inverse[m]);
  };
  int i = 0;
  for (Floats found[M][WIDE_BLOCKS]; i + COLUMNS <= dim; i += COLUMNS) mix(i, found);
  for (Floats found[M][1]; i < dim; i += LANES) mix(i, found);
}

template <class T, int M = WIDE_ROWS>
static inline void attend_wide_some(int count, const Packed<T> &packed, const float *q,
                                    size_t stride, int seen, float scale,
                                    const WideScratch<T> &scratch, float *out) {
  if (count == M) return attend_wide<T, M>(packed, q, stride, seen, scale, scratch, out);
  if constexpr (M > 1)
    attend_wide_some<T, M - 1>(count, packed, q, stride, seen, scale, scratch, out);
}
