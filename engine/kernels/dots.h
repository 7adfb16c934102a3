// Exact dot products of bytes: weights of sixteen rows with the activations of one row.
//
// A vector of weights contains four bytes of each row, stored with an offset: 8-bit weights are 0 to
// 255, 4-bit weights 0 to 15. The four activations are -127 to 127.
#pragma once

#include "lanes.h"

#if PART_BYTES == 64 || defined(__AVXVNNI__)
// Adds products of unsigned and signed bytes, four to a lane.
INLINE IntPart dot_bytes(IntPart total, IntPart w, int32_t x) {
#if PART_BYTES == 64
  return (IntPart)_mm512_dpbusd_epi32((__m512i)total, (__m512i)w, _mm512_set1_epi32(x));
#else
  return (IntPart)_mm256_dpbusd_avx_epi32((__m256i)total, (__m256i)w, _mm256_set1_epi32(x));
#endif
}
#elif defined(__ARM_FEATURE_DOTPROD)
// The same with signed weights.
INLINE IntPart dot_bytes(IntPart total, IntPart w, int32_t x) {
  const int8x16_t repeated = vreinterpretq_s8_s32(vdupq_n_s32(x));
  return (IntPart)vdotq_s32((int32x4_t)total, (int8x16_t)w, repeated);
}
#else
#define NO_BYTE_DOT
#endif

#if PART_BYTES == 32 && defined(NO_BYTE_DOT)
INLINE __m256i byte_pairs(__m256i w, __m256i x) { return _mm256_maddubs_epi16(w, x); }
INLINE IntPart short_pairs(__m256i x) {
  return (IntPart)_mm256_madd_epi16(x, _mm256_set1_epi16(1));
}
#elif defined(NO_BYTE_DOT)
INLINE IntPart dot_bytes(IntPart total, IntPart w, int32_t x) {
  for (int byte = 0; byte < 4; byte++)
    total += ((w >> (8 * byte)) & 255) * (int32_t)(int8_t)(x >> (8 * byte));
  return total;
}
#endif

// Sums over columns of 8-bit weights times activations.
struct Sums8 {
#if (PART_BYTES == 32 && defined(NO_BYTE_DOT)) || defined(__ARM_FEATURE_DOTPROD)
  static constexpr int OFFSET = 0;
#else
  static constexpr int OFFSET = 128;
#endif
  Ints sums;

  // `first` is the sum of all activations times -OFFSET.
  INLINED void start(int32_t first) { sums = broadcast_int(first); }

  // `x` contains four activations.
  INLINED void add(const Ints &w, int32_t x) {
    sums = by_parts<IntPart>([&](size_t p) {
#if PART_BYTES == 32 && defined(NO_BYTE_DOT)
      // A pair of 255 * 127 does not fit 16 bits, but a pair of 128 * 127 does. So the offset is
      // removed from each weight, and its sign moves to the activation.
      const __m256i signed_w = _mm256_xor_si256((__m256i)w.part[p], _mm256_set1_epi8(-128));
      const __m256i signed_x = _mm256_sign_epi8(_mm256_set1_epi32(x), signed_w);
      return sums.part[p] + short_pairs(byte_pairs(_mm256_abs_epi8(signed_w), signed_x));
#elif defined(__ARM_FEATURE_DOTPROD)
      return dot_bytes(sums.part[p], w.part[p] ^ (int32_t)0x80808080, x);
#else
      return dot_bytes(sums.part[p], w.part[p], x);
#endif
    });
  }

  INLINED Ints total() const { return sums; }
};

// The same for 4-bit weights, over at most 32 columns.
struct Sums4 {
  Ints sums;

  INLINED void start(int32_t) { sums = Ints{}; }

#if PART_BYTES == 32 && defined(NO_BYTE_DOT)  // sums of eight pairs of 15 * 127 fit 16 bits
  INLINED void add(const Ints &w, int32_t x) {
    sums = by_parts<IntPart>([&](size_t p) {
      const __m256i pairs = byte_pairs((__m256i)w.part[p], _mm256_set1_epi32(x));
      return (IntPart)_mm256_add_epi16((__m256i)sums.part[p], pairs);
    });
  }

  INLINED Ints total() const {
    return by_parts<IntPart>([&](size_t p) { return short_pairs((__m256i)sums.part[p]); });
  }
#else
  INLINED void add(const Ints &w, int32_t x) {
    sums = by_parts<IntPart>([&](size_t p) { return dot_bytes(sums.part[p], w.part[p], x); });
  }

  INLINED Ints total() const { return sums; }
#endif
};
