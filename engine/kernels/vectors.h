// Functions of the network on sixteen numbers at a time.
#pragma once

#include "lanes.h"

// Adding it to a float of small magnitude rounds that to an integer, which is in the lowest bits.
constexpr float ROUNDER = 12582912.0f;

INLINE Ints rounded(const Floats &x) { return as_ints(x + ROUNDER) - as_ints(broadcast(ROUNDER)); }

// e to the power x, with a relative error of about 1e-7: Cephes' expf (Moshier), a polynomial on
// +-ln 2 / 2.
INLINE Floats exponential(Floats x) {
  x = minimum(maximum(x, broadcast(-87.0f)), broadcast(88.0f));
  const Ints n = rounded(x * 1.44269504088896341f);
  const Floats whole = to_floats(n);
  const Floats r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  Floats p = broadcast(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  return p * as_floats((n + 127) << 23);
}

// GELU in GPT-2's approximation with tanh.
INLINE Floats gelu(const Floats &x) {
  const Floats inner = (x + x * x * x * 0.044715f) * 1.5957691216057308f;
  return x / (exponential(inner * -1.0f) + 1.0f);
}

// SiLU: x times the logistic function of x.
INLINE Floats silu(const Floats &x) { return x / (exponential(x * -1.0f) + 1.0f); }

// Rotates pairs of neighbouring numbers. `turns` has the cosine and the sine of each pair's angle.
INLINE Floats rotate_pairs(const Floats &x, const Floats &turns) {
  typedef uint64_t Pairs __attribute__((vector_size(PART_BYTES)));
  return by_parts<FloatPart>([&](size_t p) {
    // A pair is one number of 64 bits, of which the first float is the lower half.
    const Pairs pairs = (Pairs)x.part[p], angles = (Pairs)turns.part[p];
    const Pairs low = angles & 0xffffffff, high = angles >> 32;
    const FloatPart cosines = (FloatPart)(low | low << 32);
    const FloatPart sines = (FloatPart)((high | high << 32) ^ 0x80000000);
    const FloatPart swapped = (FloatPart)(pairs >> 32 | pairs << 32);
    return (FloatPart)x.part[p] * cosines + swapped * sines;
  });
}
