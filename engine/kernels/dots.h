// Exact products of bytes: of weights of sixteen rows with activations of one.
//
// A vector of weights holds four bytes of each row, kept with an offset: 8 bits are 0 to 255, 4 bits
// 0 to 15. The four activations are -127 to 127. What an OFFSET has added, the caller takes out by
// the activations' sum.
#pragma once

#include "lanes.h"

#if PART_BYTES == 64 || defined(__AVXVNNI__)
// Adds the products of unsigned bytes with signed ones, by fours.
INLINE IntPart dots(IntPart total, IntPart w, int32_t x) {
#if PART_BYTES == 64
  return (IntPart)_mm512_dpbusd_epi32((__m512i)total, (__m512i)w, _mm512_set1_epi32(x));
#else
  return (IntPart)_mm256_dpbusd_avx_epi32((__m256i)total, (__m256i)w, _mm256_set1_epi32(x));
#endif
}
#elif defined(__ARM_FEATURE_DOTPROD)
// The same with both signed.
INLINE IntPart dots(IntPart total, IntPart w, int32_t x) {
  const int8x16_t four_times = vreinterpretq_s8_s32(vdupq_n_s32(x));
  return (IntPart)vdotq_s32((int32x4_t)total, (int8x16_t)w, four_times);
}
#else
#define NO_DOTS
#endif

#if PART_BYTES == 32 && defined(NO_DOTS)
INLINE __m256i byte_pairs(__m256i w, __m256i x) { return _mm256_maddubs_epi16(w, x); }
INLINE IntPart short_pairs(__m256i x) {
  return (IntPart)_mm256_madd_epi16(x, _mm256_set1_epi16(1));
}
#elif defined(NO_DOTS)
INLINE IntPart dots(IntPart total, IntPart w, int32_t x) {
  for (int byte = 0; byte < 4; byte++)
    total += ((w >> (8 * byte)) & 255) * (int32_t)(int8_t)(x >> (8 * byte));
  return total;
}
#endif

// A sum over columns of 8-bit weights, for activations of which the sum is known.
struct Sums8 {
#if (PART_BYTES == 32 && defined(NO_DOTS)) || defined(__ARM_FEATURE_DOTPROD)
  static constexpr int OFFSET = 0;
#else
  static constexpr int OFFSET = 128;
#endif
  Ints sums;

  INLINED void start(int32_t sum) { sums = all_ints(-OFFSET * sum); }

  // `x` are four activations.
  INLINED void add(const Ints &w, int32_t x) {
    sums = by_parts<IntPart>([&](size_t p) {
#if PART_BYTES == 32 && defined(NO_DOTS)
      // Pairs of 255 * 127 do not fit 16 bits, of 128 * 127 they do: so each weight loses its
      // offset, and lends its sign to the activation.
      const __m256i real = _mm256_xor_si256((__m256i)w.part[p], _mm256_set1_epi8(-128));
      const __m256i lent = _mm256_sign_epi8(_mm256_set1_epi32(x), real);
      return sums.part[p] + short_pairs(byte_pairs(_mm256_abs_epi8(real), lent));
#elif defined(__ARM_FEATURE_DOTPROD)
      return dots(sums.part[p], w.part[p] ^ (int32_t)0x80808080, x);
#else
      return dots(sums.part[p], w.part[p], x);
#endif
    });
  }

  INLINED Ints total(int32_t) const { return sums; }
};

// The same over at most 32 columns of 4-bit weights.
struct Sums4 {
  static constexpr int OFFSET = 8;
  Ints sums;

#if PART_BYTES == 32 && defined(NO_DOTS)  // in 16 bits, which eight pairs of 15 * 127 fit
  INLINED void start(int32_t) { sums = Ints{}; }

  INLINED void add(const Ints &w, int32_t x) {
    sums = by_parts<IntPart>([&](size_t p) {
      const __m256i pairs = byte_pairs((__m256i)w.part[p], _mm256_set1_epi32(x));
      return (IntPart)_mm256_add_epi16((__m256i)sums.part[p], pairs);
    });
  }

  INLINED Ints total(int32_t sum) const {
    return by_parts<IntPart>([&](size_t p) { return short_pairs((__m256i)sums.part[p]); }) -
           OFFSET * sum;
  }
#else
  INLINED void start(int32_t sum) { sums = all_ints(-OFFSET * sum); }

  INLINED void add(const Ints &w, int32_t x) {
    sums = by_parts<IntPart>([&](size_t p) { return dots(sums.part[p], w.part[p], x); });
  }

  INLINED Ints total(int32_t) const { return sums; }
#endif
};
