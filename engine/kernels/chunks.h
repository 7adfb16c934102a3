// Attention of one step, divided into pieces for the threads.
#pragma once

#include <cmath>
#include <vector>

#include "attention.h"
#include "threads.h"

// One row of a step: the token at `position` of a sequence. For each layer, its cache has keys and
// values of (kv_heads, rows, head_dim).
struct StepRow {
  void *const *keys, *const *values;
  int32_t position, cache_rows;
};

// The heads of an attention: `group` query heads share a key/value head.
struct Heads {
  int heads, kv_heads, dim;

  int group() const { return heads / kv_heads; }
};

// Consecutive rows of a step that are consecutive positions of one cache.
struct Sequence {
  int first, rows, start;
  size_t first_state;  // index of its first softmax state; its states are (kv_heads, chunks, queries)

  int length() const { return start + rows; }
  int chunks() const { return (length() + CHUNK - 1) / CHUNK; }
};

// Some queries of a sequence for a key/value head, and the chunk of keys that they attend to.
struct Piece {
  int sequence, kv_head, chunk, first, count;
};

struct Pieces {
  std::vector<Sequence> sequences;
  std::vector<int> sequence_of_row;
  std::vector<Piece> pieces;
  size_t num_states = 0;  // of all queries with all chunks

  Pieces(const StepRow *rows, int count, const Heads &heads, int threads) {
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
      num_states += (size_t)sequence.chunks() * sequence.rows * heads.heads;
      chunks += sequence.chunks() * heads.kv_heads;
    }
    // Every piece packs its chunk of keys itself. So a chunk has several pieces only if there are
    // too few chunks for the threads.
    const int parts = threads == 1 || chunks == 0 ? 1 : (2 * threads + chunks - 1) / chunks;
    for (int i = 0; i < (int)sequences.size(); i++) add(i, heads, parts);
  }

 private:
  void add(int index, const Heads &heads, int parts) {
    const Sequence &sequence = sequences[index];
    const int queries = sequence.rows * heads.group();
    const int max_queries = (queries + parts - 1) / parts;
    for (int kv_head = 0; kv_head < heads.kv_heads; kv_head++)
      for (int chunk = 0; chunk < sequence.chunks(); chunk++)
        for (int first = 0; first < queries; first += max_queries)
          pieces.push_back({index, kv_head, chunk, first, std::min(max_queries, queries - first)});
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
  int count, length;
  Heads heads;
  bool is_prefill;
  Pieces pieces;
  size_t scratch_bytes, packed_bytes;  // for each thread; for each key/value head
  char *query = nullptr, *scratch = nullptr, *packed = nullptr;
  float *outputs = nullptr;
  SoftmaxState *states = nullptr;

 public:
  Attention(const StepRow *rows, int count, const Heads &heads, int threads, bool is_prefill)
      : rows(rows), count(count), heads(heads), is_prefill(is_prefill),
        pieces(rows, is_prefill ? 0 : count, heads, threads) {
    length = 0;
    for (int i = 0; i < count; i++)
      length = std::max(length, rows[is_prefill ? 0 : i].position + 1);
    if (is_prefill) length += count - 1;
    length = padded(length, LANES);
    const size_t num_keys = is_prefill ? length : CHUNK;
    const size_t weights = sizeof(float) * (length / CHUNK + 1);
    const size_t chunk = is_prefill ? tile_bytes() : Packed<float>::bytes(CHUNK, heads.dim);
    scratch_bytes = padded(std::max(weights, Scratch<float>::bytes(num_keys) + chunk), 64);
    packed_bytes = is_prefill ? padded(Packed<float>::bytes(length, heads.dim), 64) : 0;
  }

  size_t bytes(int threads) const {
    return sizeof(float) * ((size_t)count * width() + pieces.num_states * heads.dim) +
           sizeof(SoftmaxState) * pieces.num_states + threads * scratch_bytes +
           heads.kv_heads * packed_bytes + 5 * 64;
  }

  void allocate(Workspace &memory, int threads) {
    query = memory.allocate<char>(sizeof(float) * count * width());
    scratch = memory.allocate<char>(threads * scratch_bytes);
    packed = memory.allocate<char>(heads.kv_heads * packed_bytes);
    outputs = memory.allocate<float>(pieces.num_states * heads.dim);
    states = memory.allocate<SoftmaxState>(pieces.num_states);
  }

  // Stores 16 columns of a row's queries, which the caller has scaled.
  template <class C> void put_query(int row, int column, const Floats &x) {
    const int head = column / heads.dim, group = heads.group();
    Factor<C> *of_row = queries_of<Factor<C>>(head / group, row);
    narrow(of_row + (size_t)(head % group) * heads.dim + column % heads.dim, x);
  }

  // Computes the attention of all rows, each of which sees `window` positions. Afterwards `finish`
  // must be called for all columns.
  template <class C> void run(Team &team, int layer, int window, float *out) {
    if (!is_prefill) {
      const auto &list = pieces.pieces;
      return team.for_each((int)list.size(),
                           [&](int i) { attend_chunk<C>(list[i], layer, window); });
    }
    const int blocks = length / LANES, queries = count * heads.group();
    const int tiles = (queries + QUERIES - 1) / QUERIES;
    team.for_each(heads.kv_heads * blocks, [&](int i) {
      packed_head<C>(i / blocks, layer).pack(i % blocks * LANES);
    });
    team.for_each(heads.kv_heads * tiles, [&](int i) {
      const int first = i % tiles * QUERIES, some = std::min(QUERIES, queries - first);
      attend_all<C>(i / tiles, first, some, layer, window, out);
    });
  }

  // Completes columns `from` to `to` of a row of `out` (count, heads * dim).
  void finish(int row, int from, int to, float *out) {
    if (is_prefill) return;
    const Sequence &sequence = pieces.sequences[pieces.sequence_of_row[row]];
    const int dim = heads.dim, group = heads.group(), chunks = sequence.chunks();
    const size_t queries = (size_t)sequence.rows * group;
    float *weights = (float *)thread_scratch();
    for (int column = from; column < to; column += LANES) {
      const int head = column / dim;
      const size_t query_in_group = (size_t)(row - sequence.first) * group + head % group;
      const size_t state = first_state(sequence, head / group, 0) + query_in_group;
      if (column == from || column % dim == 0)
        weigh_chunks(states + state, chunks, queries, weights);
      store(out + (size_t)row * width() + column,
            merge_chunks(outputs + state * dim + column % dim, weights, chunks, queries * dim));
    }
  }

 private:
  size_t width() const { return (size_t)heads.heads * heads.dim; }

  // The output of some queries, before it is written to its place.
  size_t tile_bytes() const { return sizeof(float) * QUERIES * heads.dim; }

  char *thread_scratch() const { return scratch + thread_number() * scratch_bytes; }

  // The queries of a row for a key/value head. All queries are (kv_heads, count, group, dim).
  template <class T> T *queries_of(int kv_head, int row) const {
    const size_t rows_before = (size_t)kv_head * count + row;
    return (T *)query + rows_before * heads.group() * heads.dim;
  }

  size_t first_state(const Sequence &sequence, int kv_head, int chunk) const {
    const size_t chunks_before = (size_t)kv_head * sequence.chunks() + chunk;
    return sequence.first_state + chunks_before * sequence.rows * heads.group();
  }

  // Keys or values of a row's cache from position `from` on.
  template <class C> const C *cached(void *const *buffers, int row, int layer, int kv_head,
                                     int from) const {
    const size_t rows_before = (size_t)kv_head * rows[row].cache_rows + from;
    return (const C *)buffers[layer] + rows_before * heads.dim;
  }

  template <class C> Packed<C> packed_head(int kv_head, int layer) const {
    return Packed<C>(packed + kv_head * packed_bytes,
                     cached<C>(rows[0].keys, 0, layer, kv_head, 0),
                     cached<C>(rows[0].values, 0, layer, kv_head, 0), rows[0].position + count,
                     heads.dim);
  }

  template <class C> void attend_chunk(const Piece &piece, int layer, int window) {
    using T = Factor<C>;
    const Sequence &sequence = pieces.sequences[piece.sequence];
    const int from = piece.chunk * CHUNK, num_keys = std::min(CHUNK, sequence.length() - from);
    const int row = sequence.first, kv_head = piece.kv_head;
    const size_t state = first_state(sequence, kv_head, piece.chunk);
    if (from + num_keys <= sequence.start + 1 - window) {  // no query sees this chunk
      for (int i = piece.first; i < piece.first + piece.count; i++)
        states[state + i] = {MASKED_SCORE, 0.0f};
      return;
    }
    const Packed<C> chunk(thread_scratch(), cached<C>(rows[row].keys, row, layer, kv_head, from),
                          cached<C>(rows[row].values, row, layer, kv_head, from), num_keys,
                          heads.dim);
    const Scratch<T> scores(thread_scratch() + Packed<C>::bytes(CHUNK, heads.dim), CHUNK);
    for (int block = 0; block < num_keys; block += LANES) chunk.pack(block);
    const Queries<T> queries{queries_of<T>(kv_head, row), sequence.start, heads.group(), window};
    for (int i = piece.first; i < piece.first + piece.count; i += QUERIES)
      attend_some(std::min(QUERIES, piece.first + piece.count - i), queries, i, chunk, from, scores,
                  outputs + (state + i) * heads.dim, states + state + i);
  }

  // Computes `some` queries of a key/value head from `first` on, with all packed keys.
  template <class C>
  void attend_all(int kv_head, int first, int some, int layer, int window, float *out) {
    using T = Factor<C>;
    const int dim = heads.dim, group = heads.group();
    const Queries<T> queries{queries_of<T>(kv_head, 0), rows[0].position, group, window};
    float *tile = (float *)thread_scratch();
    SoftmaxState final_states[QUERIES];
    attend_some(some, queries, first, packed_head<C>(kv_head, layer), 0,
                Scratch<T>(thread_scratch() + tile_bytes(), length), tile, final_states);
    for (int i = 0; i < some; i++) {
      const int row = (first + i) / group, head = kv_head * group + (first + i) % group;
      float *to = out + row * width() + (size_t)head * dim;
      for (int column = 0; column < dim; column += LANES)
        store(to + column,
              load<Floats>(tile + i * dim + column) * (1.0f / final_states[i].total));
    }
  }
};
