// Attention of one step, divided into pieces for the threads.
#pragma once

#include <cmath>
#include <vector>

#include "attention.h"
#include "threads.h"

// One row of a step: the token at `position` of a sequence. For each layer, its cache has keys and
// values of (positions, head_dim).
struct StepRow {
  void *const *keys, *const *values;
  int32_t position;
};

// Consecutive rows of a step that are consecutive positions of one cache.
struct Sequence {
  int first, rows, start;
  size_t first_state;  // index of its first softmax state; its states are (chunks, queries)

  int length() const { return start + rows; }
  int chunks() const { return (length() + CHUNK - 1) / CHUNK; }
};

// Some queries of a sequence, and the chunk of keys that they attend to.
struct Piece {
  int sequence, chunk, first, count;
};

struct Pieces {
  std::vector<Sequence> sequences;
  std::vector<int> sequence_of_row;
  std::vector<Piece> pieces;
  size_t num_states = 0;  // of all queries with all chunks

  Pieces(const StepRow *rows, int count, int heads, int threads) {
    for (int row = 0; row < count; row++) {
      if (row == 0 || rows[row].keys != rows[row - 1].keys ||
          rows[row].position != rows[row - 1].position + 1)
        sequences.push_back({row, 0, rows[row].position, 0});
      sequences.back().rows++;
      sequence_of_row.push_back((int)sequences.size() - 1);
    }
    int chunks = 0;
    for (Sequence &sequence : sequences) {
      sequence.first_state = num_states;
      num_states += (size_t)sequence.chunks() * sequence.rows * heads;
      chunks += sequence.chunks();
    }
    // Every piece packs its chunk of keys itself. So a chunk has several pieces only if there are
    // too few chunks for the threads.
    const int parts = threads == 1 || chunks == 0 ? 1 : (2 * threads + chunks - 1) / chunks;
    for (int i = 0; i < (int)sequences.size(); i++) add(i, heads, parts);
  }

 private:
  void add(int index, int heads, int parts) {
    const Sequence &sequence = sequences[index];
    const int queries = sequence.rows * heads;
    const int max_queries = (queries + parts - 1) / parts;
    for (int chunk = 0; chunk < sequence.chunks(); chunk++)
      for (int first = 0; first < queries; first += max_queries)
        pieces.push_back({index, chunk, first, std::min(max_queries, queries - first)});
  }
};

// Returns 16 columns of one query's output, from its `outputs` (chunks, stride) for each chunk.
INLINE Floats merge_chunks(const float *outputs, const float *weights, int chunks, size_t stride) {
  Floats merged{};
  for (int chunk = 0; chunk < chunks; chunk++)
    if (weights[chunk] > 0) merged += load<Floats>(outputs + chunk * stride) * weights[chunk];
  return merged;
}

// Computes the weight of each chunk's output in the output of a query.
static inline void weigh_chunks(const SoftmaxState *states, int chunks, size_t stride,
                                float *weights) {
  float max = MASKED_SCORE, total = 0;
  for (int chunk = 0; chunk < chunks; chunk++)
    if (states[chunk * stride].total > 0) max = std::max(max, states[chunk * stride].max);
  for (int chunk = 0; chunk < chunks; chunk++) {
    const SoftmaxState &state = states[chunk * stride];
    weights[chunk] = state.total > 0 ? std::exp(state.max - max) : 0.0f;
    total += weights[chunk] * state.total;
  }
  for (int chunk = 0; chunk < chunks; chunk++) weights[chunk] /= total;
}

// The attention of one step, in one of two ways:
// - Few rows, of any sequences: each piece packs a chunk of keys, and the outputs of the chunks are
//   merged at the end.
// - Prefill, many rows of one sequence: all keys are packed first.
class Attention {
  const StepRow *rows;
  int count, heads, dim, length;
  bool is_prefill;
  Pieces pieces;
  size_t scratch_bytes, packed_bytes;  // for each thread; for all threads together
  char *query = nullptr, *scratch = nullptr, *packed = nullptr;
  float *outputs = nullptr;
  SoftmaxState *states = nullptr;

 public:
  Attention(const StepRow *rows, int count, int heads, int dim, int threads, bool is_prefill)
      : rows(rows), count(count), heads(heads), dim(dim), is_prefill(is_prefill),
        pieces(rows, is_prefill ? 0 : count, heads, threads) {
    length = 0;
    for (int i = 0; i < count; i++)
      length = std::max(length, rows[is_prefill ? 0 : i].position + 1);
    if (is_prefill) length += count - 1;
    length = padded(length, LANES);
    const size_t num_keys = is_prefill ? length : CHUNK;
    const size_t weights = sizeof(float) * (length / CHUNK + 1);
    const size_t chunk = is_prefill ? 0 : Packed<float>::bytes(CHUNK, dim);
    scratch_bytes = padded(std::max(weights, Scratch<float>::bytes(num_keys) + chunk), 64);
    packed_bytes = is_prefill ? Packed<float>::bytes(length, dim) : 0;
  }

  size_t bytes(int threads) const {
    return sizeof(float) * ((size_t)count * heads * dim + pieces.num_states * dim) +
           sizeof(SoftmaxState) * pieces.num_states + threads * scratch_bytes + packed_bytes +
           5 * 64;
  }

  void allocate(Workspace &memory, int threads) {
    query = memory.allocate<char>(sizeof(float) * count * heads * dim);
    scratch = memory.allocate<char>(threads * scratch_bytes);
    packed = memory.allocate<char>(packed_bytes);
    outputs = memory.allocate<float>(pieces.num_states * dim);
    states = memory.allocate<SoftmaxState>(pieces.num_states);
  }

  // Stores 16 columns of a row's queries, which the caller has scaled.
  template <class C> void put_query(int row, int column, const Floats &x) {
    narrow((Factor<C> *)query + (size_t)row * heads * dim + column, x);
  }

  // Computes the attention of all rows. Afterwards `finish` must be called for all columns.
  template <class C> void run(Team &team, int layer, float *out) {
    if (!is_prefill) {
      const auto &list = pieces.pieces;
      return team.for_each((int)list.size(), [&](int i) { attend_chunk<C>(list[i], layer); });
    }
    const int queries = count * heads;
    const Packed<C> whole(packed, keys<C>(0, layer), values<C>(0, layer), rows[0].position + count,
                          dim);
    team.for_each(whole.length / LANES, [&](int block) { whole.pack(block * LANES); });
    team.for_each((queries + QUERIES - 1) / QUERIES, [&](int i) {
      const int first = i * QUERIES, some = std::min(QUERIES, queries - first);
      attend_all(first, some, whole, out + (size_t)first * dim);
    });
  }

  // Completes columns `from` to `to` of a row of `out` (count, heads * dim).
  void finish(int row, int from, int to, float *out) {
    if (is_prefill) return;
    const Sequence &sequence = pieces.sequences[pieces.sequence_of_row[row]];
    const size_t queries = (size_t)sequence.rows * heads;
    float *weights = (float *)thread_scratch();
    for (int column = from; column < to; column += LANES) {
      const size_t query_in_sequence = (size_t)(row - sequence.first) * heads + column / dim;
      const size_t state = sequence.first_state + query_in_sequence;
      if (column == from || column % dim == 0)
        weigh_chunks(states + state, sequence.chunks(), queries, weights);
      store(out + (size_t)row * heads * dim + column,
            merge_chunks(outputs + state * dim + column % dim, weights, sequence.chunks(),
                         queries * dim));
    }
  }

 private:
  char *thread_scratch() const { return scratch + thread_number() * scratch_bytes; }

  template <class C> const C *keys(int row, int layer) const {
    return (const C *)rows[row].keys[layer];
  }

  template <class C> const C *values(int row, int layer) const {
    return (const C *)rows[row].values[layer];
  }

  template <class C> void attend_chunk(const Piece &piece, int layer) {
    using T = Factor<C>;
    const Sequence &sequence = pieces.sequences[piece.sequence];
    const int from = piece.chunk * CHUNK, num_keys = std::min(CHUNK, sequence.length() - from);
    const size_t skipped = (size_t)from * dim;
    const Packed<C> chunk(thread_scratch(), keys<C>(sequence.first, layer) + skipped,
                          values<C>(sequence.first, layer) + skipped, num_keys, dim);
    const Scratch<T> scores(thread_scratch() + Packed<C>::bytes(CHUNK, dim), CHUNK);
    for (int block = 0; block < num_keys; block += LANES) chunk.pack(block);
    const Queries<T> queries{(const T *)query + (size_t)sequence.first * heads * dim,
                             sequence.start, heads};
    const size_t state = sequence.first_state + (size_t)piece.chunk * sequence.rows * heads;
    for (int i = piece.first; i < piece.first + piece.count; i += QUERIES)
      attend_some(std::min(QUERIES, piece.first + piece.count - i), queries, i, chunk, from, scores,
                  outputs + (state + i) * dim, states + state + i);
  }

  template <class C>
  void attend_all(int first, int some, const Packed<C> &whole, float *out) {
    using T = Factor<C>;
    const Queries<T> queries{(const T *)query, rows[0].position, heads};
    SoftmaxState final_states[QUERIES];
    attend_some(some, queries, first, whole, 0, Scratch<T>(thread_scratch(), length), out,
                final_states);
    for (int i = 0; i < some; i++)
      for (int column = 0; column < dim; column += LANES) {
        float *to = out + i * dim + column;
        store(to, load<Floats>(to) * (1.0f / final_states[i].total));
      }
  }
};
