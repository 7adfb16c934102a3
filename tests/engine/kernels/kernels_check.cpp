// Holds the kernels, as they are compiled for one kind of processor, against exact sums of plain
// loops. Prints what it held and leaves with 1 if something is not as it should be.

#include <cstdio>
#include <random>

#include "../../../engine/kernels/step.cpp"

static std::mt19937 numbers(1);
static int checks = 0, failures = 0;

static float normal() { return std::normal_distribution<float>()(numbers); }
static int between(int least, int most) {
  return std::uniform_int_distribution<int>(least, most)(numbers);
}

static void near(double found, double expected, double close, const char *what, int a, int b) {
  checks++;
  if (std::fabs(found - expected) <= close * (1 + std::fabs(expected))) return;
  if (++failures <= 10)
    std::printf("%s (%d, %d): %.9g instead of %.9g\n", what, a, b, found, expected);
}

static Bf16 to_bf16(float x) {
  float sixteen[LANES] = {x};
  Bf16 made[LANES];
  narrow(made, load<Floats>(sixteen));
  return made[0];
}

static float real(Bf16 x) {
  const uint32_t bits = (uint32_t)x.bits << 16;
  return load<float>(&bits);
}
static float real(float x) { return x; }
template <class C> static C kept(float x) {
  if constexpr (sizeof(C) == 2) return to_bf16(x);
  else return x;
}

struct Weights {
  Matrix matrix;
  std::vector<uint8_t> numbers;
  std::vector<float> floats, bias;
  std::vector<Bf16> bf16;

  Weights(Kind kind, int rows, int columns, float size = 1) {
    const int high = padded(rows, LANES), wide = padded(columns, INT4_GROUP);
    for (int i = 0; i < high; i++) bias.push_back(i < rows ? normal() * size : 0);
    matrix = {kind, rows, columns, nullptr, nullptr, bias.data()};
    if (kind < INT8) {
      for (int i = 0; i < rows * columns; i++) floats.push_back(real(to_bf16(normal() * size)));
      for (float x : floats) bf16.push_back(to_bf16(x));
      matrix.weight = kind == FLOAT ? (void *)floats.data() : (void *)bf16.data();
      return;
    }
    const int bits = kind == INT8 ? 8 : 4, scales = kind == INT8 ? high : high * wide / INT4_GROUP;
    for (int i = 0; i < high * wide * bits / 8; i++)  // every third an extreme
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

  // Activations as these weights take them.
  std::vector<double> seen(const float *x) const {
    std::vector<double> made(x, x + matrix.columns);
    for (double &one : made)
      if (matrix.rounds_activations()) one = real(to_bf16((float)one));
    for (int from = 0; matrix.kind >= INT8 && from < matrix.columns; from += ACTIVATION_GROUP) {
      const int to = std::min(from + ACTIVATION_GROUP, matrix.columns);
      float most = 0;
      for (int i = from; i < to; i++) most = std::max(most, std::fabs(x[i]));
      const float inverse = most > 0 ? 127.0f / most : 0.0f, scale = most / 127.0f;
      for (int i = from; i < to; i++) made[i] = std::nearbyint(x[i] * inverse) * scale;
    }
    return made;
  }

  std::vector<double> times(const float *x) const {
    const std::vector<double> of_x = seen(x);
    std::vector<double> y(matrix.rows);
    for (int row = 0; row < matrix.rows; row++) {
      y[row] = bias[row];
      for (int i = 0; i < matrix.columns; i++) y[row] += at(row, i) * of_x[i];
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
        // Of the first row all are extremes: they are what might not fit 16 bits.
        for (int i = 0; i < count * columns; i++) x[i] = i < columns ? between(0, 1) * 2 - 1 : normal();
        starcoder_product(&weights.matrix, x.data(), count, y.data(), 1);
        for (int n = 0; n < count; n++) {
          const auto expected = weights.times(x.data() + n * columns);
          for (int row = 0; row < rows; row++)
            near(y[n * rows + row], expected[row], 2e-5, "product", kind, count);
        }
      }
}

// What one query of `dim` sees of `count` keys and values.
template <class C>
static std::vector<double> seen(const float *q, const C *keys, const C *values, int count, int dim,
                                double scale) {
  std::vector<double> shares(count), found(dim);
  double most = -1e300, total = 0;
  for (int n = 0; n < count; n++) {
    for (int i = 0; i < dim; i++) shares[n] += scale * q[i] * real(keys[n * dim + i]);
    most = std::max(most, shares[n]);
  }
  for (double &share : shares) total += share = std::exp(share - most);
  for (int n = 0; n < count; n++)
    for (int i = 0; i < dim; i++) found[i] += shares[n] / total * real(values[n * dim + i]);
  return found;
}

template <class C> static void check_attention(Kind kind, double close) {
  const int heads = 5;
  for (int dim : {16, 64, 80})
    for (auto [start, count] : {std::pair{0, 1}, {0, 40}, {3, 5}, {126, 4}, {140, 2}, {290, 3}, {7, 33}}) {
      const int rows = start + count, width = heads * dim;
      std::vector<C> keys(rows * dim), values(rows * dim);
      for (C &x : keys) x = kept<C>(normal() * 2);
      for (C &x : values) x = kept<C>(normal());
      keys.resize((rows + 1) * dim, kept<C>(NAN));  // what lies behind is not to be seen
      values.resize((rows + 1) * dim, kept<C>(NAN));
      std::vector<float> q(count * width), out(count * width);
      for (float &x : q) x = normal();
      starcoder_attend(kind, q.data(), keys.data(), values.data(), start, count, heads, dim, 0.25f,
                       out.data(), 1);
      for (int i = 0; i < count * heads; i++) {
        const auto expected =
            seen(&q[i * dim], keys.data(), values.data(), start + i / heads + 1, dim, 0.25);
        for (int at = 0; at < dim; at++)
          near(out[i * dim + at], expected[at], close, "attention", dim, start + i / heads);
      }
    }
}

static std::vector<float> normed(const std::vector<float> &x, const Norm &norm) {
  double mean = 0, square = 0;
  for (float one : x) mean += one / x.size();
  for (float one : x) square += (one - mean) * (one - mean) / x.size();
  std::vector<float> made;
  for (size_t i = 0; i < x.size(); i++)
    made.push_back((x[i] - mean) / std::sqrt(square + 1e-5) * norm.weight[i] + norm.bias[i]);
  return made;
}

// Steps of two sequences at once, and of one alone, against a row at a time.
static void check_steps(Kind kind, double close) {
  const int heads = 3, dim = 32, width = heads * dim, inner = 4 * width, vocab = 50, places = 300;
  std::vector<float> ones, zeros(inner);
  for (int i = 0; i < width; i++) ones.push_back(1 + normal() / 9);
  const Norm norm{ones.data(), zeros.data()};
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
  } caches[2], mine[2];
  for (auto *set : {caches, mine})
    for (int s = 0; s < 2; s++)
      for (int layer = 0; layer < 2; layer++) {
        set[s].keys[layer].resize(places * dim);
        set[s].values[layer].resize(places * dim);
        set[s].of_keys[layer] = set[s].keys[layer].data();
        set[s].of_values[layer] = set[s].values[layer].data();
      }
  int at[2] = {0, 0};
  // How many ids of each sequence a step has.
  for (auto [first, second] : {std::pair{150, 0}, {0, 40}, {1, 1}, {7, 2}, {0, 1}, {20, 9}, {2, 0}}) {
    std::vector<StepRow> rows;
    for (int s = 0; s < 2; s++)
      for (int i = 0; i < (s ? second : first); i++)
        rows.push_back({caches[s].of_keys, caches[s].of_values, at[s] + i});
    const int count = (int)rows.size();
    std::vector<float> embedded, logits(count * vocab);
    std::vector<int32_t> wanted;
    std::vector<int64_t> ids;
    for (const StepRow &place : rows) {
      ids.push_back(between(0, vocab - 1));
      for (int i = 0; i < width; i++)
        embedded.push_back(tokens.at(ids.back(), i) + positions[place.position * width + i]);
    }
    for (int i = 0; i < count && second != 40; i++) wanted.push_back(i);  // once none at all
    starcoder_step(&model, ids.data(), rows.data(), count, wanted.data(), (int)wanted.size(),
                   logits.data(), 1);
    for (int row = 0; row < count; row++) {
      Cache &cache = mine[row >= first];
      const int place = rows[row].position;
      std::vector<float> x(&embedded[row * width], &embedded[row * width] + width);
      for (int layer = 0; layer < 2; layer++) {
        const auto mixed = in[layer].times(normed(x, norm).data());
        std::vector<float> q(mixed.begin(), mixed.begin() + width), all;
        for (int i = 0; i < dim; i++) {
          cache.keys[layer][place * dim + i] = mixed[width + i];
          cache.values[layer][place * dim + i] = mixed[width + dim + i];
        }
        for (int h = 0; h < heads; h++)
          for (double one : seen(&q[h * dim], cache.keys[layer].data(), cache.values[layer].data(),
                                 place + 1, dim, scale))
            all.push_back(one);
        const auto seen_of_all = out[layer].times(all.data());
        for (int i = 0; i < width; i++) x[i] += seen_of_all[i];
        std::vector<float> wide;
        for (double one : up[layer].times(normed(x, norm).data()))
          wide.push_back(one / 2 * (1 + std::tanh(0.7978845608028654 * (one + 0.044715 * one * one * one))));
        const auto added = down[layer].times(wide.data());
        for (int i = 0; i < width; i++) x[i] += added[i];
      }
      if (wanted.empty()) continue;
      const auto expected = head.times(normed(x, norm).data());
      double off = 0, size = 0;
      for (int i = 0; i < vocab; i++) {
        off += std::pow(logits[row * vocab + i] - expected[i], 2);
        size += std::pow(expected[i], 2);
      }
      near(std::sqrt(off / size), 0, close, "step", kind, row);
    }
    at[0] += first, at[1] += second;
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
  store_bytes(bytes, rounded(smaller(load<Floats>(x), all(127))));
  float added = 0;
  for (int i = 0; i < LANES; i++) {
    uint32_t bits = load<uint32_t>(&x[i]);
    bits = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    near(narrowed[i].bits, bits, 0, "narrow", i, 0);
    if (i != 6) near(whole[i], std::nearbyint(x[i]), 0, "rounded", i, 0);
    near(bytes[i], std::nearbyint(std::min(x[i], 127.0f)), 0, "byte", i, 0);
    added += i;
  }
  float ramp[LANES];
  for (int i = 0; i < LANES; i++) ramp[i] = i;
  near(sum(load<Floats>(ramp)), added, 0, "sum", 0, 0);
  near(sum(as_ints(load<Floats>(ramp)) * 0 + 3), 3 * LANES, 0, "sum of ints", 0, 0);
  near(largest(load<Floats>(ramp) * -1.0f), 0, 0, "largest", 0, 0);
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
  check_steps(BF16_DOT, 0.01);  // an activation in the middle may fall to either side
  check_steps(INT8, 0.02);
  check_steps(INT4, 0.02);
  std::printf("%d bytes of vector, %s: %d held, %d not as they should be\n", PART_BYTES,
#if defined(NO_DOTS)
              "no products of bytes",
#else
              "products of bytes",
#endif
              checks, failures);
  return failures > 0;
}
