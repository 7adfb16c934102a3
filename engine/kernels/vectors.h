// Sixteen lanes at a time, in the vector types that GCC and Clang know for every processor.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

constexpr int LANES = 16;

// Before each loop over accumulators: only where all of them are unrolled do they stay in registers.
#define UNROLL _Pragma("GCC unroll 16")

typedef float Floats __attribute__((vector_size(64)));
typedef int32_t Ints __attribute__((vector_size(64)));
typedef uint16_t Halves __attribute__((vector_size(32)));
typedef int8_t Bytes __attribute__((vector_size(16)));

template <class V> static inline V load(const void *from) {
  V v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class V> static inline void store(void *to, V v) { std::memcpy(to, &v, sizeof v); }

static inline Floats all(float x) { return x - Floats{}; }
static inline Floats larger(Floats a, Floats b) { return a > b ? a : b; }
static inline Floats smaller(Floats a, Floats b) { return a < b ? a : b; }

// Brain floats: the upper half of a float.
struct Brain {
  uint16_t bits;
};

static inline Floats widen(const float *from) { return load<Floats>(from); }

static inline Floats widen(const Brain *from) {
#if defined(__AVX512F__)  // GCC makes two halves of the general form
  return (Floats)((Ints)_mm512_cvtepu16_epi32(load<__m256i>(from)) << 16);
#else
  return (Floats)(__builtin_convertvector(load<Halves>(from), Ints) << 16);
#endif
}

static inline void narrow(float *to, Floats x) { store(to, x); }

static inline void narrow(Brain *to, Floats x) {  // to the nearest, ties to even
  Ints bits = (Ints)x;
  bits += 0x7fff + ((bits >> 16) & 1);
  store(to, __builtin_convertvector(bits >> 16, Halves));
}

static inline float sum(Floats v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#else
  typedef float Eight __attribute__((vector_size(32)));
  typedef float Four __attribute__((vector_size(16)));
  const Eight e = load<Eight>(&v) + load<Eight>((const char *)&v + 32);
  const Four f = load<Four>(&e) + load<Four>((const char *)&e + 16);
  return (f[0] + f[1]) + (f[2] + f[3]);
#endif
}

static inline float largest(Floats v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)v);
#else
  float found = v[0];
  for (int i = 1; i < LANES; i++) found = v[i] > found ? v[i] : found;
  return found;
#endif
}

// Adding it rounds a float of small magnitude to the nearest integer, in its lowest bits.
constexpr float ROUNDER = 12582912.0f;

static inline Ints rounded(Floats x) { return (Ints)(x + ROUNDER) - (Ints)all(ROUNDER); }

// e to the x, to about 1e-7 of it: Cephes' expf (Moshier), a polynomial on +-ln 2 / 2.
static inline Floats exponential(Floats x) {
  x = smaller(larger(x, all(-87.0f)), all(88.0f));
  const Ints n = rounded(x * 1.44269504088896341f);
  const Floats whole = __builtin_convertvector(n, Floats);
  const Floats r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * (Floats)((n + 127) << 23);
}

// x times the normal distribution's share below it, as GPT-2 approximates it by tanh.
static inline Floats gelu(Floats x) {
  const Floats inner = 1.5957691216057308f * (x + 0.044715f * x * x * x);
  return x / (1.0f + exponential(-inner));
}

// Adds four products of a byte 0 to 255 in `w` and a byte -128 to 127 in `x` to each lane.
static inline Ints dot4(Ints total, Ints w, int32_t x) {
#if defined(__AVX512VNNI__)
  return (Ints)_mm512_dpbusd_epi32((__m512i)total, (__m512i)w, _mm512_set1_epi32(x));
#else
  for (int byte = 0; byte < 4; byte++)
    total += ((w >> (8 * byte)) & 255) * (int32_t)(int8_t)(x >> (8 * byte));
  return total;
#endif
}
