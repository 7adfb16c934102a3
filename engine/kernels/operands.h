// The operands of a product: a matrix of weights, and the rows of activations that it multiplies.
#pragma once

#include <algorithm>

#include "dots.h"
#include "vectors.h"

enum Kind : int32_t { FLOAT = 0, BF16 = 1, BF16_DOT = 2, INT8 = 3, INT4 = 4 };

// `weight` is (rows, columns) of floats, or of bfloat16 numbers for BF16 and BF16_DOT. Quantised
// weights are in blocks of 16 rows: see engine/network/quantise.py. `scale` has floats for INT8 and
// Grids for INT4. `bias` may be null; otherwise it is padded to a multiple of 16.
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
constexpr int INT4_GROUP = 32;         // columns that share a grid, of a row in 4 bits
// Rows of activations, and blocks of 16 rows of weights, whose sums are in registers together: FEW
// where memory is the limit, MANY where arithmetic is.
constexpr bool MANY_REGISTERS = PART_BYTES == 64;
constexpr int FEW = MANY_REGISTERS ? 8 : 4, FEW_BLOCKS = 1;
constexpr int MANY = MANY_REGISTERS ? 6 : 4, MANY_BLOCKS = MANY_REGISTERS ? 2 : 1;

// ACTIVATION_GROUP quantised columns of a row.
struct QuantisedGroup {
  float scale;
  int32_t start;                               // sums of products with 8-bit weights start with it
  float sums[ACTIVATION_GROUP / INT4_GROUP];   // of the quantised values of INT4_GROUP columns
};

// The rows that a matrix is multiplied with: as floats, and in the format that the matrix needs.
//
// Quantised rows are in tiles of `tile` rows, which are multiplied together. In a tile the rows
// alternate after each four columns, and after each group. So the kernels need one address for a
// tile: with one per row, compilers run out of registers.
struct Rows {
  int count, columns, tile;
  float *values;           // (count, columns)
  Bf16 *bf16;              // (count, columns)
  int32_t *words;          // (tiles, stride / 4, tile): four bytes each
  QuantisedGroup *groups;  // (tiles, num_groups, tile)

  Rows(int count, int columns) : count(count), columns(columns) {
    const int max = count > FEW ? MANY : FEW, tiles = std::max(1, (count + max - 1) / max);
    tile = std::max(1, (count + tiles - 1) / tiles);
  }

  template <class X> const X *of() const {
    if constexpr (std::is_same_v<X, Bf16>) return bf16;
    else return values;
  }

  int stride() const { return padded(columns, ACTIVATION_GROUP); }
  int num_groups() const { return stride() / ACTIVATION_GROUP; }
  int padded_count() const { return padded(count, tile); }

  // Returns the index of the element `i` of `length` elements of a row.
  size_t place(int row, int i, int length) const {
    return ((size_t)(row / tile) * length + i) * tile + row % tile;
  }
  int32_t &word(int row, int column) { return words[place(row, column / 4, stride() / 4)]; }
  QuantisedGroup &group(int row, int index) { return groups[place(row, index, num_groups())]; }

  // Quantises one group of columns of a row.
  void quantise(int row, int index) {
    const float *x = values + (size_t)row * columns;
    const int first = index * ACTIVATION_GROUP, last = std::min(first + ACTIVATION_GROUP, columns);
    Floats top{};
    for (int k = first; k < last; k += LANES) top = maximum(top, absolute(load<Floats>(x + k)));
    const float max = max_lane(top);
    const float scale = max / 127.0f, inverse = max > 0 ? 127.0f / max : 0.0f;
    QuantisedGroup &group = this->group(row, index);
    int32_t *to = &word(row, first);
    int32_t total = 0;
    for (int k = first; k < first + ACTIVATION_GROUP; k += INT4_GROUP) {
      Ints part{};
      for (int i = k; i < k + INT4_GROUP; i += LANES, to += LANES / 4 * tile) {
        const Ints numbers = i < last ? rounded(load<Floats>(x + i) * inverse) : Ints{};
        int32_t four_bytes[LANES / 4];
        store_bytes((int8_t *)four_bytes, numbers);
        for (int j = 0; j < LANES / 4; j++) to[j * tile] = four_bytes[j];
        part += numbers;
      }
      const int32_t part_sum = sum(part);
      group.sums[(k - first) / INT4_GROUP] = part_sum * scale;
      total += part_sum;
    }
    group.scale = scale;
    group.start = -Sums8::OFFSET * total;
  }

  // Sets a row to what rounding to 8 bits has taken from the row before it, which is quantised.
  void set_remainder(int row) {
    const float *x = values + (size_t)(row - 1) * columns;
    for (int k = 0; k < columns; k++) {
      const int8_t number = (int8_t)(word(row - 1, k) >> (8 * (k % 4)));
      values[(size_t)row * columns + k] = x[k] - number * group(row - 1, k / ACTIVATION_GROUP).scale;
    }
  }

  // Converts one group of columns of a row to the format that the matrix needs.
  void prepare(const Matrix &matrix, int row, int index) {
    if (matrix.is_quantised()) return quantise(row, index);
    if (!matrix.rounds_activations()) return;
    const int first = index * ACTIVATION_GROUP, last = std::min(first + ACTIVATION_GROUP, columns);
    for (size_t i = first, offset = (size_t)row * columns; i < (size_t)last; i += LANES)
      narrow(bf16 + offset + i, load<Floats>(values + offset + i));
  }

  void prepare(const Matrix &matrix, int row) {
    for (int index = 0; index < num_groups(); index++) prepare(matrix, row, index);
  }
};
