// Compares the kernels, compiled for one kind of processor, with the exact sums of plain loops. Prints
// the number of comparisons and exits with 1 if one fails.

#include <cstdio>
#include <random>

#include "../../../engine/kernels/step.cpp"

static std::mt19937 numbers(1);
static int checks = 0, failures = 0;

static float normal() { return std::normal_distribution<float>()(numbers); }
static int between(int low, int high) {
  return std::uniform_int_distribution<int>(low, high)(numbers);
}

static void near(double actual, double expected, double tolerance, const char *what, int a, int b) {
  checks++;
  if (std::fabs(actual - expected) <= tolerance * (1 + std::fabs(expected))) return;
  if (++failures <= 10)
    std::printf("%s (%d, %d): %.9g instead of %.9g\n", what, a, b, actual, expected);
}

static Bf16 to_bf16(float x) {
  float sixteen[LANES] = {x};
  Bf16 narrowed[LANES];
  narrow(narrowed, load<Floats>(sixteen));
  return narrowed[0];
}

static float real(Bf16 x) {
  const uint32_t bits = (uint32_t)x.bits << 16;
  return load<float>(&bits);
}
static float real(float x) { return x; }
template <class C> static C to_stored(float x) {
  if constexpr (sizeof(C) == 2) return to_bf16(x);
  else return x;
}

struct Weights {
  Matrix matrix;
  std::vector<uint8_t> numbers;
  std::vector<float> floats, bias;
  std::vector<Bf16> bf16;

  Weights(Kind kind, int rows, int columns, float size = 1) {
    const int all_rows = padded(rows, LANES), all_columns = padded(columns, INT4_GROUP);
    for (int i = 0; i < all_rows; i++) bias.push_back(i < rows ? normal() * size : 0);
    matrix = {kind, rows, columns, nullptr, nullptr, bias.data()};
    if (kind < INT8) {
      for (int i = 0; i < rows * columns; i++) floats.push_back(real(to_bf16(normal() * size)));
      for (float x : floats) bf16.push_back(to_bf16(x));
      matrix.weight = kind == FLOAT ? (void *)floats.data() : (void *)bf16.data();
      return;
    }
    const int bits = kind == INT8 ? 8 : 4, scales = kind == INT8 ? all_rows : all_rows * all_columns / INT4_GROUP;
    for (int i = 0; i < all_rows * all_columns * bits / 8; i++)  // every third is an extreme
      numbers.push_back(between(0, 2) ? between(0, 255) : 255 * between(0, 1));
    for (int i = 0; i < scales; i++) floats.push_back(real(to_bf16(size * between(1, 9) / 1000)));
    for (float x : floats) bf16.push_back(to_bf16(x));
    matrix.weight = numbers.data();
    matrix.scale = kind == INT8 ? (void *)floats.data() : (void *)bf16.data();
  }

  double at(int row, int column) const {
    if (matrix.kind >= INT8) return weight_at(matrix, row, column);
    return floats[(size_t)row * matrix.columns + column];
  }

  // Returns activations in the precision that these weights use.
  std::vector<double> rounded_activations(const float *x) const {
    std::vector<double> result(x, x + matrix.columns);
    for (double &value : result)
      if (matrix.rounds_activations()) value = real(to_bf16((float)value));
    for (int from = 0; matrix.kind >= INT8 && from < matrix.columns; from += ACTIVATION_GROUP) {
      const int to = std::min(from + ACTIVATION_GROUP, matrix.columns);
      float max = 0;
      for (int i = from; i < to; i++) max = std::max(max, std::fabs(x[i]));
      const float inverse = max > 0 ? 127.0f / max : 0.0f, scale = max / 127.0f;
      for (int i = from; i < to; i++) result[i] = std::nearbyint(x[i] * inverse) * scale;
    }
    return result;
  }

  std::vector<double> times(const float *x) const {
    const std::vector<double> activations = rounded_activations(x);
    std::vector<double> y(matrix.rows);
    for (int row = 0; row < matrix.rows; row++) {
      y[row] = bias[row];
      for (int i = 0; i < matrix.columns; i++) y[row] += at(row, i) * activations[i];
    }
    return y;
  }
};

static void check_products() {
  for (Kind kind : {FLOAT, BF16, BF16_DOT, INT8, INT4})
    for (auto [rows, columns] : {std::pair{16, 16}, {70, 160}, {144, 336}})
      for (int count : {1, 2, 3, 5, 8, 9, 13, 40}) {
        const Weights weights(kind, rows, columns);
        std::vector<float> x(count * columns), y(count * rows);
        // The first row contains only extremes, whose sums might not fit 16 bits.
        for (int i = 0; i < count * columns; i++) x[i] = i < columns ? between(0, 1) * 2 - 1 : normal();
        starcoder_product(&weights.matrix, x.data(), count, y.data(), 1);
        for (int n = 0; n < count; n++) {
          const auto expected = weights.times(x.data() + n * columns);
          for (int row = 0; row < rows; row++)
            near(y[n * rows + row], expected[row], 2e-5, "product", kind, count);
        }
      }
}

// Returns the attention of one query of `dim` to `count` keys and values.
template <class C>
static std::vector<double> attention(const float *q, const C *keys, const C *values, int count,
                                     int dim, double scale) {
  std::vector<double> scores(count), output(dim);
  double max = -1e300, total = 0;
  for (int n = 0; n < count; n++) {
    for (int i = 0; i < dim; i++) scores[n] += scale * q[i] * real(keys[n * dim + i]);
    max = std::max(max, scores[n]);
  }
  for (double &score : scores) total += score = std::exp(score - max);
  for (int n = 0; n < count; n++)
    for (int i = 0; i < dim; i++) output[i] += scores[n] / total * real(values[n * dim + i]);
  return output;
}

template <class C> static void check_attention(Kind kind, double tolerance) {
  const int heads = 5;
  for (int dim : {16, 64, 80})
    for (auto [start, count] : {std::pair{0, 1}, {0, 40}, {3, 5}, {126, 4}, {140, 2}, {290, 3}, {7, 33}}) {
      const int rows = start + count, width = heads * dim;
      std::vector<C> keys(rows * dim), values(rows * dim);
      for (C &x : keys) x = to_stored<C>(normal() * 2);
      for (C &x : values) x = to_stored<C>(normal());
      keys.resize((rows + 1) * dim, to_stored<C>(NAN));  // keys after the last must not be visible
      values.resize((rows + 1) * dim, to_stored<C>(NAN));
      std::vector<float> q(count * width), out(count * width);
      for (float &x : q) x = normal();
      starcoder_attend(kind, q.data(), keys.data(), values.data(), start, count, heads, dim, 0.25f,
                       out.data(), 1);
      for (int i = 0; i < count * heads; i++) {
        const auto expected =
            attention(&q[i * dim], keys.data(), values.data(), start + i / heads + 1, dim, 0.25);
        for (int column = 0; column < dim; column++)
          near(out[i * dim + column], expected[column], tolerance, "attention", dim, start + i / heads);
      }
    }
}

static std::vector<float> normed(const std::vector<float> &x, const Norm &norm) {
  double mean = 0, square = 0;
  for (float value : x) mean += value / x.size();
  for (float value : x) square += (value - mean) * (value - mean) / x.size();
  std::vector<float> result;
  for (size_t i = 0; i < x.size(); i++)
    result.push_back((x[i] - mean) / std::sqrt(square + 1e-5) * norm.weight[i] + norm.bias[i]);
  return result;
}

// Compares steps of two sequences together, and of one alone, with one row at a time.
static void check_steps(Kind kind, double tolerance) {
  const int heads = 3, dim = 32, width = heads * dim, inner = 4 * width, vocab = 50, places = 300;
  std::vector<float> near_one, zeros(inner);
  for (int i = 0; i < width; i++) near_one.push_back(1 + normal() / 9);
  const Norm norm{near_one.data(), zeros.data()};
  std::vector<Weights> in, out, up, down;
  for (int i = 0; i < 2; i++) {
    in.emplace_back(kind, width + 2 * dim, width, 0.2f);
    out.emplace_back(kind, width, width, 0.2f);
    up.emplace_back(kind, inner, width, 0.2f);
    down.emplace_back(kind, width, inner, 0.2f);
  }
  const Weights head(kind, vocab, width, 0.2f), tokens(kind, vocab, width, 1);
  std::vector<float> positions(places * width);
  for (float &x : positions) x = normal();
  std::vector<Layer> layers;
  for (int i = 0; i < 2; i++)
    layers.push_back({norm, norm, in[i].matrix, out[i].matrix, up[i].matrix, down[i].matrix});
  const float scale = 1 / std::sqrt((float)dim);
  const Model model{width, heads, dim, inner, 2, FLOAT, 1e-5f, scale, layers.data(), norm,
                    tokens.matrix, head.matrix, positions.data()};

  struct Cache {
    std::vector<float> keys[2], values[2];
    void *of_keys[2], *of_values[2];
  } caches[2], expected_caches[2];
  for (auto *set : {caches, expected_caches})
    for (int s = 0; s < 2; s++)
      for (int layer = 0; layer < 2; layer++) {
        set[s].keys[layer].resize(places * dim);
        set[s].values[layer].resize(places * dim);
        set[s].of_keys[layer] = set[s].keys[layer].data();
        set[s].of_values[layer] = set[s].values[layer].data();
      }
  int lengths[2] = {0, 0};
  // The number of ids of each sequence in a step.
  for (auto [first, second] : {std::pair{150, 0}, {0, 40}, {1, 1}, {7, 2}, {0, 1}, {20, 9}, {2, 0}}) {
    std::vector<StepRow> rows;
    for (int s = 0; s < 2; s++)
      for (int i = 0; i < (s ? second : first); i++)
        rows.push_back({caches[s].of_keys, caches[s].of_values, lengths[s] + i});
    const int count = (int)rows.size();
    std::vector<float> embedded, logits(count * vocab);
    std::vector<int32_t> logits_rows;
    std::vector<int64_t> ids;
    for (const StepRow &row : rows) {
      ids.push_back(between(0, vocab - 1));
      for (int i = 0; i < width; i++)
        embedded.push_back(tokens.at(ids.back(), i) + positions[row.position * width + i]);
    }
    for (int i = 0; i < count && second != 40; i++) logits_rows.push_back(i);  // once no logits at all
    starcoder_step(&model, ids.data(), rows.data(), count, logits_rows.data(), (int)logits_rows.size(),
                   logits.data(), 1);
    for (int row = 0; row < count; row++) {
      Cache &cache = expected_caches[row >= first];
      const int position = rows[row].position;
      std::vector<float> x(&embedded[row * width], &embedded[row * width] + width);
      for (int layer = 0; layer < 2; layer++) {
        const auto mixed = in[layer].times(normed(x, norm).data());
        std::vector<float> q(mixed.begin(), mixed.begin() + width), all;
        for (int i = 0; i < dim; i++) {
          cache.keys[layer][position * dim + i] = mixed[width + i];
          cache.values[layer][position * dim + i] = mixed[width + dim + i];
        }
        for (int h = 0; h < heads; h++)
          for (double value : attention(&q[h * dim], cache.keys[layer].data(),
                                        cache.values[layer].data(), position + 1, dim, scale))
            all.push_back(value);
        const auto projected = out[layer].times(all.data());
        for (int i = 0; i < width; i++) x[i] += projected[i];
        std::vector<float> wide;
        for (double value : up[layer].times(normed(x, norm).data()))
          wide.push_back(value / 2 * (1 + std::tanh(0.7978845608028654 *
                                                    (value + 0.044715 * value * value * value))));
        const auto added = down[layer].times(wide.data());
        for (int i = 0; i < width; i++) x[i] += added[i];
      }
      if (logits_rows.empty()) continue;
      const auto expected = head.times(normed(x, norm).data());
      double error = 0, size = 0;
      for (int i = 0; i < vocab; i++) {
        error += std::pow(logits[row * vocab + i] - expected[i], 2);
        size += std::pow(expected[i], 2);
      }
      near(std::sqrt(error / size), 0, tolerance, "step", kind, row);
    }
    lengths[0] += first, lengths[1] += second;
  }
}

static void check_conversions() {
  const float x[LANES] = {0, -0.0f, 1, -1, 1.00390625f, 1.01171875f, 3e38f, -1e-30f,
                          0.5f, 1.5f, 2.5f, -2.5f, 126.5f, -127, 100.3f, 7};
  Bf16 narrowed[LANES];
  int8_t bytes[LANES];
  int32_t whole[LANES];
  narrow(narrowed, load<Floats>(x));
  store(whole, rounded(load<Floats>(x)));
  store_bytes(bytes, rounded(minimum(load<Floats>(x), broadcast(127))));
  float total = 0;
  for (int i = 0; i < LANES; i++) {
    uint32_t bits = load<uint32_t>(&x[i]);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    near(narrowed[i].bits, bits, 0, "narrow", i, 0);
    if (i != 6) near(whole[i], std::nearbyint(x[i]), 0, "rounded", i, 0);
    near(bytes[i], std::nearbyint(std::min(x[i], 127.0f)), 0, "byte", i, 0);
    total += i;
  }
  float ramp[LANES];
  for (int i = 0; i < LANES; i++) ramp[i] = i;
  near(sum(load<Floats>(ramp)), total, 0, "sum", 0, 0);
  near(sum(as_ints(load<Floats>(ramp)) * 0 + 3), 3 * LANES, 0, "sum of ints", 0, 0);
  near(max_lane(load<Floats>(ramp) * -1.0f), 0, 0, "max_lane", 0, 0);
  Ints square[LANES];
  for (int i = 0; i < LANES; i++)
    for (int j = 0; j < LANES; j++) ((int32_t *)&square[i])[j] = 100 * i + j;
  transpose(square);
  for (int i = 0; i < LANES; i++)
    for (int j = 0; j < LANES; j++)
      near(((int32_t *)&square[i])[j], 100 * j + i, 0, "transposed", i, j);
}

int main() {
  check_conversions();
  check_products();
  check_attention<float>(FLOAT, 2e-5);
  check_attention<Bf16>(BF16, 0.03);
  check_steps(FLOAT, 1e-5);
  check_steps(BF16, 1e-5);
  check_steps(BF16_DOT, 0.01);  // an activation halfway between two numbers may round to either
  check_steps(INT8, 0.02);
  check_steps(INT4, 0.02);
  std::printf("%d bytes of vector, %s: %d comparisons, %d failed\n", PART_BYTES,
#if defined(NO_BYTE_DOT)
              "no products of bytes",
#else
              "products of bytes",
#endif
              checks, failures);
  return failures > 0;
}
