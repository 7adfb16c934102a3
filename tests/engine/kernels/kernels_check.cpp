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
    const int bits = kind == INT8 ? 8 : 4;
    const int scales = kind == INT8 ? all_rows : 2 * all_rows * all_columns / INT4_GROUP;
    for (int i = 0; i < all_rows * all_columns * bits / 8; i++)  // every third is an extreme
      numbers.push_back(between(0, 2) ? between(0, 255) : 255 * between(0, 1));
    for (int i = 0; i < scales; i++) {  // in 4 bits scales and minima alternate
      const int number = kind == INT4 && i % 2 ? between(-100, 20) : between(1, 9);
      floats.push_back(real(to_bf16(size * number / 1000)));
    }
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

  // Returns the product with activations as they are.
  std::vector<double> times_exact(const float *x) const {
    return times_activations(std::vector<double>(x, x + matrix.columns));
  }

  std::vector<double> times(const float *x) const {
    return times_activations(rounded_activations(x));
  }

  std::vector<double> times_activations(const std::vector<double> &activations) const {
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

// Returns the attention of a query at `position` that sees `window` positions.
template <class C>
static std::vector<double> windowed(const float *q, const C *keys, const C *values, int position,
                                    int window, int dim, double scale) {
  const int first = std::max(0, position + 1 - window);
  return attention(q, keys + first * dim, values + first * dim, position + 1 - first, dim, scale);
}

template <class C> static void check_attention(Kind kind, double tolerance) {
  for (auto [heads, kv_heads] : {std::pair{5, 1}, {6, 2}, {3, 3}})
    for (int dim : {16, 64, 80})
      for (int window : {NO_WINDOW, 1, 20, 130})
        for (auto [start, count] :
             {std::pair{0, 1}, {0, 40}, {3, 5}, {126, 4}, {140, 2}, {290, 3}, {7, 33}}) {
          const int rows = start + count, width = heads * dim, cache_rows = rows + 3;
          // Keys after the last one must not be visible.
          std::vector<C> keys(kv_heads * cache_rows * dim, to_stored<C>(NAN)), values = keys;
          for (int head = 0; head < kv_heads; head++)
            for (int i = 0; i < rows * dim; i++) {
              keys[head * cache_rows * dim + i] = to_stored<C>(normal() * 2);
              values[head * cache_rows * dim + i] = to_stored<C>(normal());
            }
          std::vector<float> q(count * width), out(count * width);
          for (float &x : q) x = normal();
          const Heads shape{heads, kv_heads, dim};
          starcoder_attend(kind, q.data(), keys.data(), values.data(), start, count, cache_rows,
                           &shape, window, 0.25f, out.data(), 1);
          for (int i = 0; i < count * heads; i++) {
            const int offset = i % heads / (heads / kv_heads) * cache_rows * dim;
            const auto expected = windowed(&q[i * dim], &keys[offset], &values[offset],
                                           start + i / heads, window, dim, 0.25);
            for (int column = 0; column < dim; column++)
              near(out[i * dim + column], expected[column], tolerance, "attention", dim,
                   start + i / heads);
          }
        }
}

// Returns a norm of x, LayerNorm or RMSNorm.
template <class T>
static std::vector<float> normed(const std::vector<T> &x, const Norm &norm) {
  double mean = 0, square = 0;
  for (T value : x) mean += norm.bias ? value / x.size() : 0;
  for (T value : x) square += (value - mean) * (value - mean) / x.size();
  std::vector<float> result;
  for (size_t i = 0; i < x.size(); i++)
    result.push_back((x[i] - mean) / std::sqrt(square + 1e-5) * norm.weight[i] +
                     (norm.bias ? norm.bias[i] : 0));
  return result;
}

// Rotates pairs of neighbouring numbers by cosines and sines.
static std::vector<float> rotated(const std::vector<float> &x, const float *turns) {
  std::vector<float> result;
  for (size_t i = 0; i < x.size(); i += 2) {
    result.push_back(x[i] * turns[i] - x[i + 1] * turns[i + 1]);
    result.push_back(x[i + 1] * turns[i] + x[i] * turns[i + 1]);
  }
  return result;
}

// A network of two layers, computed one row at a time with plain loops.
struct PlainNetwork {
  static constexpr int DIM = 32, VOCAB = 50, PLACES = 300, LAYERS = 2;
  const bool is_modern;  // as Qwen3 with all that other models have, instead of GPTBigCode
  const Heads heads = is_modern ? Heads{4, 2, DIM} : Heads{3, 1, DIM};
  const int width = 96, inner = is_modern ? 160 : 4 * width, window = is_modern ? 45 : NO_WINDOW;
  const int query_width = heads.heads * DIM, kv_width = heads.kv_heads * DIM;
  const float residual_scale = is_modern ? 0.6f : 1, logit_scale = is_modern ? 0.5f : 1;
  const float embedding_scale = is_modern ? 2.0f : 1, scale = is_modern ? 0.3f : 0.177f;
  std::vector<float> near_one, biases, positions, rotations;
  std::vector<Weights> in, out, up, down;
  Weights head, tokens;
  std::vector<Layer> layers;
  Norm norm{};
  Model model{};

  PlainNetwork(Kind kind, bool is_modern)
      : is_modern(is_modern), head(kind, VOCAB, width, 0.2f), tokens(kind, VOCAB, width, 1) {
    for (int i = 0; i < width; i++) near_one.push_back(1 + normal() / 9), biases.push_back(normal() / 9);
    std::fill(head.bias.begin(), head.bias.end(), 0.0f);  // no model has a bias there
    norm = {near_one.data(), is_modern ? nullptr : biases.data()};
    for (int i = 0; i < LAYERS; i++) {
      in.emplace_back(kind, query_width + 2 * kv_width, width, 0.2f);
      out.emplace_back(kind, width, query_width, 0.2f);
      up.emplace_back(kind, is_modern ? 2 * inner : inner, width, 0.2f);
      down.emplace_back(kind, width, inner, 0.2f);
    }
    for (int i = 0; i < PLACES * width; i++) positions.push_back(normal());
    for (int i = 0; i < PLACES * DIM; i += 2) {
      const float angle = normal() * 3;
      rotations.push_back(std::cos(angle)), rotations.push_back(std::sin(angle));
    }
    const float *head_norm = is_modern ? near_one.data() : nullptr;
    for (int i = 0; i < LAYERS; i++)
      layers.push_back({norm, norm, head_norm, head_norm ? head_norm + 32 : nullptr, in[i].matrix,
                        out[i].matrix, up[i].matrix, down[i].matrix, i ? window : NO_WINDOW});
    model = {width, inner, LAYERS, heads, is_modern ? SILU : GELU, is_modern, FLOAT, 1e-5f, scale,
             embedding_scale, residual_scale, logit_scale, layers.data(), norm, tokens.matrix,
             head.matrix, is_modern ? nullptr : positions.data(),
             is_modern ? rotations.data() : nullptr};
  }

  struct Cache {
    std::vector<float> keys[LAYERS], values[LAYERS];
    void *of_keys[LAYERS], *of_values[LAYERS];

    explicit Cache(const PlainNetwork &network) {
      for (int layer = 0; layer < LAYERS; layer++) {
        keys[layer].resize(PLACES * network.kv_width), values[layer].resize(PLACES * network.kv_width);
        of_keys[layer] = keys[layer].data(), of_values[layer] = values[layer].data();
      }
    }
  };

  std::vector<float> embedded(int64_t id, int position) const {
    std::vector<float> x;
    for (int i = 0; i < width; i++)
      x.push_back(tokens.at(id, i) * embedding_scale +
                  (is_modern ? 0 : positions[position * width + i]));
    return x;
  }

  std::vector<float> head_of(const std::vector<double> &mixed, int head, const float *norm_weight,
                             int position) const {
    std::vector<float> x(mixed.begin() + head * DIM, mixed.begin() + (head + 1) * DIM);
    if (norm_weight) x = normed(x, Norm{norm_weight, nullptr});
    return norm_weight ? rotated(x, &rotations[position * DIM]) : x;
  }

  std::vector<float> attended(const Layer &layer, int index, const std::vector<double> &mixed,
                              Cache &cache, int position) const {
    const int group = heads.group();
    for (int kv = 0; kv < heads.kv_heads; kv++) {
      const auto key = head_of(mixed, heads.heads + kv, layer.key_norm, position);
      const auto value = head_of(mixed, heads.heads + heads.kv_heads + kv, nullptr, position);
      std::copy(key.begin(), key.end(), &cache.keys[index][(kv * PLACES + position) * DIM]);
      std::copy(value.begin(), value.end(), &cache.values[index][(kv * PLACES + position) * DIM]);
    }
    std::vector<float> all;
    for (int h = 0; h < heads.heads; h++) {
      const auto q = head_of(mixed, h, layer.query_norm, position);
      const int offset = h / group * PLACES * DIM;
      for (double value : windowed(q.data(), &cache.keys[index][offset], &cache.values[index][offset],
                                   position, layer.window, DIM, scale))
        all.push_back(value);
    }
    return all;
  }

  std::vector<float> activations(const std::vector<double> &wide) const {
    std::vector<float> result;
    for (int i = 0; i < inner; i++) {
      const double x = is_modern ? wide[i / 16 * 32 + i % 16] : wide[i];
      if (is_modern) result.push_back(x / (1 + std::exp(-x)) * wide[i / 16 * 32 + 16 + i % 16]);
      else result.push_back(x / 2 * (1 + std::tanh(0.7978845608028654 * (x + 0.044715 * x * x * x))));
    }
    return result;
  }

  // Returns the logits of the next id and writes keys and values.
  std::vector<double> operator()(int64_t id, int position, Cache &cache) const {
    std::vector<float> x = embedded(id, position);
    for (int i = 0; i < LAYERS; i++) {
      const auto mixed = in[i].times(normed(x, norm).data());
      const auto projected = out[i].times(attended(layers[i], i, mixed, cache, position).data());
      for (int k = 0; k < width; k++) x[k] += projected[k] * residual_scale;
      const auto wide = activations(up[i].times(normed(x, norm).data()));
      const auto added = down[i].times(wide.data());
      for (int k = 0; k < width; k++) x[k] += added[k] * residual_scale;
    }
    const auto last = normed(x, norm);
    auto logits = head.matrix.is_quantised() ? head.times_exact(last.data()) : head.times(last.data());
    for (double &logit : logits) logit *= logit_scale;
    return logits;
  }
};

// Compares steps of two sequences together, and of one alone, with one row at a time.
static void check_steps(Kind kind, bool is_modern, double tolerance) {
  const PlainNetwork network(kind, is_modern);
  const int vocab = network.VOCAB;
  PlainNetwork::Cache caches[2] = {PlainNetwork::Cache(network), PlainNetwork::Cache(network)};
  PlainNetwork::Cache expected_caches[2] = {caches[0], caches[1]};
  int lengths[2] = {0, 0};
  // The number of ids of each sequence in a step.
  for (auto [first, second] : {std::pair{150, 0}, {0, 40}, {1, 1}, {7, 2}, {0, 1}, {20, 9}, {2, 0}}) {
    std::vector<StepRow> rows;
    for (int s = 0; s < 2; s++)
      for (int i = 0; i < (s ? second : first); i++)
        rows.push_back({caches[s].of_keys, caches[s].of_values, lengths[s] + i, network.PLACES});
    const int count = (int)rows.size();
    std::vector<float> logits(count * vocab);
    std::vector<int32_t> logits_rows;
    std::vector<int64_t> ids;
    for (int i = 0; i < count; i++) ids.push_back(between(0, vocab - 1));
    for (int i = 0; i < count && second != 40; i++) logits_rows.push_back(i);  // once no logits at all
    starcoder_step(&network.model, ids.data(), rows.data(), count, logits_rows.data(),
                   (int)logits_rows.size(), logits.data(), 1);
    for (int row = 0; row < count; row++) {
      const auto expected = network(ids[row], rows[row].position, expected_caches[row >= first]);
      if (logits_rows.empty()) continue;
      double error = 0, size = 0;
      for (int i = 0; i < vocab; i++) {
        error += std::pow(logits[row * vocab + i] - expected[i], 2);
        size += std::pow(expected[i], 2);
      }
      near(std::sqrt(error / size), 0, tolerance, is_modern ? "modern step" : "step", kind, row);
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
  check_attention<Bf16>(BF16, 0.04);
  for (bool is_modern : {false, true}) {
    check_steps(FLOAT, is_modern, 1e-5);
    check_steps(BF16, is_modern, 1e-5);
    // An activation halfway between two numbers may round to either.
    check_steps(BF16_DOT, is_modern, 0.01);
    check_steps(INT8, is_modern, 0.02);
    check_steps(INT4, is_modern, 0.02);
  }
  std::printf("%d bytes of vector, %s: %d comparisons, %d failed\n", PART_BYTES,
#if defined(NO_BYTE_DOT)
              "no products of bytes",
#else
              "products of bytes",
#endif
              checks, failures);
  return failures > 0;
}
