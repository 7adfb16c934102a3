// Multi-query attention of a few query rows over caches: all heads share one key and one value.
#pragma once

#include "vectors.h"

constexpr int HEADS_AT_ONCE = 4;

// Attention of H heads' queries over `length` rows: q and out are (H, dim), scores (H, length).
template <class C, int H>
static inline void attend_heads(const float *q, const C *keys, const C *values, int length, int dim,
                                float scale, float *scores, float *out) {
  const int stride = (length + LANES - 1) / LANES * LANES;
  for (int n = 0; n < length; n++) {
    Floats acc[H];
    UNROLL
    for (int h = 0; h < H; h++) acc[h] = Floats{};
    for (int i = 0; i < dim; i += LANES) {
      const Floats key = widen(keys + (size_t)n * dim + i);
      UNROLL
      for (int h = 0; h < H; h++) acc[h] += key * load<Floats>(q + h * dim + i);
    }
    UNROLL
    for (int h = 0; h < H; h++) scores[h * stride + n] = sum(acc[h]) * scale;
  }
  float total[H];
  UNROLL
  for (int h = 0; h < H; h++) {
    float *s = scores + h * stride;
    for (int n = length; n < stride; n++) s[n] = -1e30f;
    Floats top = load<Floats>(s), sums{};
    for (int n = LANES; n < stride; n += LANES) top = larger(top, load<Floats>(s + n));
    const float most = largest(top);
    for (int n = 0; n < stride; n += LANES) {
      const Floats e = exponential(load<Floats>(s + n) - most);
      store(s + n, e);
      if (n + LANES <= length) sums += e;
    }
    total[h] = sum(sums);
    for (int n = length / LANES * LANES; n < length; n++) total[h] += s[n];
  }
  for (int i = 0; i < dim; i += LANES) {
    Floats acc[H];
    UNROLL
    for (int h = 0; h < H; h++) acc[h] = Floats{};
    for (int n = 0; n < length; n++) {
      const Floats value = widen(values + (size_t)n * dim + i);
      UNROLL
      for (int h = 0; h < H; h++) acc[h] += value * scores[h * stride + n];
    }
    UNROLL
    for (int h = 0; h < H; h++) store(out + h * dim + i, acc[h] / total[h]);
  }
}

// Heads from `first` on, at most HEADS_AT_ONCE of `heads`.
template <class C>
static inline void attend(const float *q, const void *keys, const void *values, int length,
                          int heads, int dim, float scale, int first, float *scores, float *out) {
  const C *k = (const C *)keys, *v = (const C *)values;
  const float *from = q + first * dim;
  float *to = out + first * dim;
  switch (heads - first) {
    case 1: return attend_heads<C, 1>(from, k, v, length, dim, scale, scores, to);
    case 2: return attend_heads<C, 2>(from, k, v, length, dim, scale, scores, to);
    case 3: return attend_heads<C, 3>(from, k, v, length, dim, scale, scores, to);
    default: return attend_heads<C, 4>(from, k, v, length, dim, scale, scores, to);
  }
}
