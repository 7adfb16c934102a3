// Vectors of sixteen lanes on any processor, made of several native vectors if necessary.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>
#if defined(__SSE2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

constexpr int LANES = 16;

#if defined(__AVX512VNNI__)  // without VNNI, AVX-512 has no advantage here over AVX2
#define PART_BYTES 64
#elif defined(__AVX2__)
#define PART_BYTES 32
#else
#define PART_BYTES 16
#endif
constexpr int PARTS = 64 / PART_BYTES;

template <class N> static inline N padded(N n, int to) { return (n + to - 1) / to * to; }

// Put before each loop over accumulators. They stay in registers only if all these loops are
// unrolled.
#define UNROLL _Pragma("GCC unroll 16")
#define INLINED inline __attribute__((always_inline))
#define INLINE static INLINED

typedef float FloatPart __attribute__((vector_size(PART_BYTES)));
typedef int32_t IntPart __attribute__((vector_size(PART_BYTES)));

// A structure of native vectors: GCC keeps it in registers, but a wider vector type in memory.
template <class V> struct Lanes {
  V part[PARTS];
};

using Floats = Lanes<FloatPart>;
using Ints = Lanes<IntPart>;

template <class V, class F, size_t... P>
INLINE Lanes<V> make_lanes(F &&part, std::index_sequence<P...>) {
  return {{part(P)...}};
}

// Returns the vector with the parts part(0), part(1), ...
template <class V, class F> INLINE Lanes<V> by_parts(F &&part) {
  return make_lanes<V>(part, std::make_index_sequence<PARTS>());
}

#define OPERATOR(op)                                                                 \
  template <class V> INLINE Lanes<V> operator op(const Lanes<V> &a, const Lanes<V> &b) { \
    return by_parts<V>([&](size_t p) { return a.part[p] op b.part[p]; });            \
  }                                                                                  \
  template <class V, class S> INLINE Lanes<V> operator op(const Lanes<V> &a, S b) {  \
    return by_parts<V>([&](size_t p) { return a.part[p] op b; });                    \
  }
OPERATOR(+)
OPERATOR(-)
OPERATOR(*)
OPERATOR(/)
OPERATOR(&)
OPERATOR(|)
OPERATOR(<<)
OPERATOR(>>)
#undef OPERATOR

template <class V, class B> INLINE void operator+=(Lanes<V> &a, const B &b) { a = a + b; }
template <class V, class B> INLINE void operator*=(Lanes<V> &a, const B &b) { a = a * b; }

template <class V> struct MemoryAccess {
  INLINED static V load(const void *from) {
    V v;
    std::memcpy(&v, from, sizeof v);
    return v;
  }
  INLINED static void store(void *to, const V &v) { std::memcpy(to, &v, sizeof v); }
};

// Copies part by part. GCC would copy a whole structure in pieces of another size, and then stall.
template <class V> struct MemoryAccess<Lanes<V>> {
  INLINED static Lanes<V> load(const void *from) {
    return by_parts<V>(
        [&](size_t p) { return MemoryAccess<V>::load((const char *)from + p * PART_BYTES); });
  }
  INLINED static void store(void *to, const Lanes<V> &v) {
    UNROLL
    for (int p = 0; p < PARTS; p++) MemoryAccess<V>::store((char *)to + p * PART_BYTES, v.part[p]);
  }
};

template <class V> INLINE V load(const void *from) { return MemoryAccess<V>::load(from); }
template <class V> INLINE void store(void *to, const V &v) { MemoryAccess<V>::store(to, v); }

INLINE Floats broadcast(float x) {
  return by_parts<FloatPart>([&](size_t) { return x - FloatPart{}; });
}

INLINE Ints broadcast_int(int32_t x) {
  return by_parts<IntPart>([&](size_t) { return x - IntPart{}; });
}

INLINE Floats maximum(const Floats &a, const Floats &b) {
  return by_parts<FloatPart>([&](size_t p) { return a.part[p] > b.part[p] ? a.part[p] : b.part[p]; });
}

INLINE Floats minimum(const Floats &a, const Floats &b) {
  return by_parts<FloatPart>([&](size_t p) { return a.part[p] < b.part[p] ? a.part[p] : b.part[p]; });
}

INLINE Floats absolute(const Floats &x) {
  return by_parts<FloatPart>([&](size_t p) { return (FloatPart)((IntPart)x.part[p] & 0x7fffffff); });
}

// Reinterprets the bits.
INLINE Floats as_floats(const Ints &x) {
  return by_parts<FloatPart>([&](size_t p) { return (FloatPart)x.part[p]; });
}

INLINE Ints as_ints(const Floats &x) {
  return by_parts<IntPart>([&](size_t p) { return (IntPart)x.part[p]; });
}

// Converts the numbers.
INLINE Floats to_floats(const Ints &x) {
  return by_parts<FloatPart>([&](size_t p) { return __builtin_convertvector(x.part[p], FloatPart); });
}

// Sixteen unsigned numbers of 16 bits.
INLINE Ints load_halves(const uint16_t *from) {
#if PART_BYTES == 64  // GCC splits the general form in two
  return {{(IntPart)_mm512_cvtepu16_epi32(load<__m256i>(from))}};
#elif PART_BYTES == 32
  return by_parts<IntPart>(
      [&](size_t p) { return (IntPart)_mm256_cvtepu16_epi32(load<__m128i>(from + 8 * p)); });
#elif defined(__ARM_NEON)
  return by_parts<IntPart>([&](size_t p) { return (IntPart)vmovl_u16(vld1_u16(from + 4 * p)); });
#else
  typedef uint16_t Part __attribute__((vector_size(PART_BYTES / 2)));
  return by_parts<IntPart>([&](size_t p) {
    return __builtin_convertvector(load<Part>(from + p * LANES / PARTS), IntPart);
  });
#endif
}

INLINE void store_halves(uint16_t *to, const Ints &x) {  // unsigned numbers that fit 16 bits
#if PART_BYTES == 32
  const __m256i combine = _mm256_packus_epi32((__m256i)x.part[0], (__m256i)x.part[1]);
  store(to, _mm256_permute4x64_epi64(combine, 0xd8));
#else
  typedef uint16_t Part __attribute__((vector_size(PART_BYTES / 2)));
  for (int p = 0; p < PARTS; p++)
    store(to + p * LANES / PARTS, __builtin_convertvector(x.part[p], Part));
#endif
}

INLINE void store_bytes(int8_t *to, const Ints &x) {  // signed numbers that fit 8 bits
#if PART_BYTES == 32
  const __m256i combine = _mm256_packs_epi32((__m256i)x.part[0], (__m256i)x.part[1]);
  const __m256i halves = _mm256_permute4x64_epi64(combine, 0xd8);
  store(to, _mm_packs_epi16(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
#else
  typedef int8_t Part __attribute__((vector_size(PART_BYTES / 4)));
  for (int p = 0; p < PARTS; p++)
    store(to + p * LANES / PARTS, __builtin_convertvector(x.part[p], Part));
#endif
}

// bfloat16: the upper half of a float.
struct Bf16 {
  uint16_t bits;
};

INLINE Floats widen(const float *from) { return load<Floats>(from); }
INLINE Floats widen(const Bf16 *from) { return as_floats(load_halves(&from->bits) << 16); }
INLINE void narrow(float *to, const Floats &x) { store(to, x); }

INLINE void narrow(Bf16 *to, const Floats &x) {  // to the nearest, ties to even
#if defined(__AVX512BF16__) && PART_BYTES == 64
  store(to, _mm512_cvtneps_pbh((__m512)x.part[0]));
#else
  const Ints bits = as_ints(x), up = bits + 0x7fff + ((bits >> 16) & 1);
  store_halves(&to->bits, (up >> 16) & 0xffff);
#endif
}

#if defined(__AVX512BF16__) && PART_BYTES == 64
#define HAS_BF16_DOT
// Adds the products of bfloat16 numbers, two to a lane.
INLINE Floats dot_bf16(const Floats &total, __m512i a, __m512i b) {
  return {{(FloatPart)_mm512_dpbf16_ps((__m512)total.part[0], (__m512bh)a, (__m512bh)b)}};
}
#endif

// Reduces all lanes to one with `combine(a, b)`, halving their number each time.
template <class V, class F> INLINE auto reduce(const Lanes<V> &v, F &&combine) {
  typedef decltype(v.part[0][0] + v.part[0][0]) Lane;
  typedef Lane Four __attribute__((vector_size(16)));
  Four f[4];
  store(f, v);
  const Four two[2] = {combine(f[0], f[2]), combine(f[1], f[3])}, last = combine(two[0], two[1]);
  const Lane a[2] = {combine(last[0], last[2]), combine(last[1], last[3])};
  return combine(a[0], a[1]);
}

INLINE float sum(const Floats &v) {
#if PART_BYTES == 64
  return _mm512_reduce_add_ps((__m512)v.part[0]);
#else
  return reduce(v, [](auto a, auto b) { return a + b; });
#endif
}

INLINE int32_t sum(const Ints &v) {
#if PART_BYTES == 64
  return _mm512_reduce_add_epi32((__m512i)v.part[0]);
#else
  return reduce(v, [](auto a, auto b) { return a + b; });
#endif
}

INLINE float max_lane(const Floats &v) {
#if PART_BYTES == 64
  return _mm512_reduce_max_ps((__m512)v.part[0]);
#else
  return reduce(v, [](auto a, auto b) { return a > b ? a : b; });
#endif
}

// Transposes a matrix of 16 x 16.
INLINE void transpose(Ints (&rows)[LANES]) {
#if PART_BYTES == 64
  UNROLL
  for (int by = 1; by < LANES; by *= 2) {
    alignas(64) int32_t lower[LANES], upper[LANES];  // lanes of the second vector are 16 to 31
    UNROLL
    for (int lane = 0; lane < LANES; lane++) {
      lower[lane] = lane & by ? lane - by + LANES : lane;
      upper[lane] = lane & by ? lane + LANES : lane + by;
    }
    UNROLL
    for (int i = 0; i < LANES; i++) {
      if (i & by) continue;
      const __m512i a = (__m512i)rows[i].part[0], b = (__m512i)rows[i + by].part[0];
      rows[i].part[0] = (IntPart)_mm512_permutex2var_epi32(a, load<__m512i>(lower), b);
      rows[i + by].part[0] = (IntPart)_mm512_permutex2var_epi32(a, load<__m512i>(upper), b);
    }
  }
#else
  int32_t from[LANES][LANES], to[LANES][LANES];
  std::memcpy(from, rows, sizeof from);
  for (int row = 0; row < LANES; row += 4)
    for (int column = 0; column < LANES; column += 4) {
#if defined(__SSE2__)
      __m128 a = load<__m128>(&from[row][column]), b = load<__m128>(&from[row + 1][column]);
      __m128 c = load<__m128>(&from[row + 2][column]), d = load<__m128>(&from[row + 3][column]);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      store(&to[column][row], a);
      store(&to[column + 1][row], b);
      store(&to[column + 2][row], c);
      store(&to[column + 3][row], d);
#elif defined(__ARM_NEON)
      const int32x4x4_t columns = {{vld1q_s32(&from[row][column]), vld1q_s32(&from[row + 1][column]),
                                    vld1q_s32(&from[row + 2][column]),
                                    vld1q_s32(&from[row + 3][column])}};
      int32_t mixed[LANES];
      vst4q_s32(mixed, columns);
      for (int i = 0; i < 4; i++) std::memcpy(&to[column + i][row], mixed + 4 * i, 16);
#else
      for (int i = 0; i < 16; i++) to[column + i % 4][row + i / 4] = from[row + i / 4][column + i % 4];
#endif
    }
  std::memcpy(rows, to, sizeof to);
#endif
}
