// The attention of one step, cut into pieces that threads can share.
#pragma once

#include <cmath>
#include <vector>

#include "attention.h"
#include "threads.h"

// One row of a step: the id at `position` of a sequence, whose cache has for each layer keys and
// values of (positions, head_dim).
struct StepRow {
  void *const *keys, *const *values;
  int32_t position;
};

// Consecutive rows of a step that are consecutive positions of one cache.
struct Sequence {
  int first, rows, start;
  size_t seen;  // its queries' results begin there: (chunks, queries)

  int length() const { return start + rows; }
  int chunks() const { return (length() + CHUNK - 1) / CHUNK; }
};

// Some queries of a sequence, and the chunk of keys that they are to see.
struct Piece {
  int sequence, chunk, first, count;
};

struct Pieces {
  std::vector<Sequence> sequences;
  std::vector<int> of_row;  // its sequence
  std::vector<Piece> pieces;
  size_t results = 0;  // of all queries with all chunks

  Pieces(const StepRow *places, int count, int heads, int threads) {
    for (int row = 0; row < count; row++) {
      if (row == 0 || places[row].keys != places[row - 1].keys ||
          places[row].position != places[row - 1].position + 1)
        sequences.push_back({row, 0, places[row].position, 0});
      sequences.back().rows++;
      of_row.push_back((int)sequences.size() - 1);
    }
    int chunks = 0;
    for (Sequence &one : sequences) {
      one.seen = results;
      results += (size_t)one.chunks() * one.rows * heads;
      chunks += one.chunks();
    }
    // Who shares a chunk packs it once more: only where there are too few chunks.
    const int parts = threads == 1 || chunks == 0 ? 1 : (2 * threads + chunks - 1) / chunks;
    for (int i = 0; i < (int)sequences.size(); i++) add(i, heads, parts);
  }

 private:
  void add(int sequence, int heads, int parts) {
    const Sequence &one = sequences[sequence];
    const int queries = one.rows * heads;
    const int most = (queries + parts - 1) / parts;
    for (int chunk = 0; chunk < one.chunks(); chunk++)
      for (int first = 0; first < queries; first += most)
        pieces.push_back({sequence, chunk, first, std::min(most, queries - first)});
  }
};

// What a query saw in all chunks: 16 columns from `at` on of (chunks, queries, dim).
INLINE Floats merged(const float *parts, const float *weights, int chunks, size_t stride) {
  Floats found{};
  for (int chunk = 0; chunk < chunks; chunk++)
    if (weights[chunk] > 0) found += load<Floats>(parts + chunk * stride) * weights[chunk];
  return found;
}

// How much each chunk's values count.
static inline void weigh(const Seen *seen, int chunks, size_t stride, float *weights) {
  float most = NOTHING, total = 0;
  for (int chunk = 0; chunk < chunks; chunk++)
    if (seen[chunk * stride].total > 0) most = std::max(most, seen[chunk * stride].most);
  for (int chunk = 0; chunk < chunks; chunk++) {
    const Seen &one = seen[chunk * stride];
    weights[chunk] = one.total > 0 ? std::exp(one.most - most) : 0.0f;
    total += weights[chunk] * one.total;
  }
  for (int chunk = 0; chunk < chunks; chunk++) weights[chunk] /= total;
}

// Few rows, of any sequences: each piece packs a chunk of keys, and what was seen of the chunks is
// merged afterwards. Many rows, of one sequence: all keys are packed first.
class Attention {
  const StepRow *places;
  int count, heads, dim, length;
  bool wide;
  Pieces pieces;
  size_t scratch_bytes, packed_bytes;  // of one thread; of all
  char *query = nullptr, *scratch = nullptr, *packed = nullptr;
  float *partial = nullptr;
  Seen *seen = nullptr;

 public:
  Attention(const StepRow *places, int count, int heads, int dim, int threads, bool wide)
      : places(places), count(count), heads(heads), dim(dim), wide(wide),
        pieces(places, wide ? 0 : count, heads, threads) {
    length = 0;
    for (int i = 0; i < count; i++) length = std::max(length, places[wide ? 0 : i].position + 1);
    if (wide) length += count - 1;
    length = padded(length, LANES);
    const size_t at_once = wide ? length : CHUNK;
    const size_t weights = sizeof(float) * (length / CHUNK + 1);
    const size_t chunk = wide ? 0 : Packed<float>::bytes(CHUNK, dim);
    scratch_bytes = padded(std::max(weights, Scratch<float>::bytes(at_once) + chunk), 64);
    packed_bytes = wide ? Packed<float>::bytes(length, dim) : 0;
  }

  size_t bytes(int threads) const {
    return sizeof(float) * ((size_t)count * heads * dim + pieces.results * dim) +
           sizeof(Seen) * pieces.results + threads * scratch_bytes + packed_bytes + 5 * 64;
  }

  void take(Workspace &from, int threads) {
    query = from.take<char>(sizeof(float) * count * heads * dim);
    scratch = from.take<char>(threads * scratch_bytes);
    packed = from.take<char>(packed_bytes);
    partial = from.take<float>(pieces.results * dim);
    seen = from.take<Seen>(pieces.results);
  }

  // Takes 16 columns of a row's queries, scaled.
  template <class C> void put_query(int row, int at, const Floats &x) {
    narrow((Factor<C> *)query + (size_t)row * heads * dim + at, x);
  }

  // Attends, for all that `finish` is then to be called.
  template <class C> void run(Team &team, int layer, float *out) {
    if (!wide) {
      const auto &all = pieces.pieces;
      return team.each((int)all.size(), [&](int i) { see_chunk<C>(all[i], layer); });
    }
    const int queries = count * heads;
    const Packed<C> all(packed, keys<C>(0, layer), values<C>(0, layer), places[0].position + count,
                        dim);
    team.each(all.length / LANES, [&](int block) { all.pack(block * LANES); });
    team.each((queries + QUERIES - 1) / QUERIES, [&](int i) {
      const int first = i * QUERIES, some = std::min(QUERIES, queries - first);
      see_all(first, some, all, out + (size_t)first * dim);
    });
  }

  // Makes columns `from` to `to` of a row, of (count, heads * dim).
  void finish(int row, int from, int to, float *out) {
    if (wide) return;
    const Sequence &one = pieces.sequences[pieces.of_row[row]];
    const size_t queries = (size_t)one.rows * heads;
    float *weights = (float *)mine();
    for (int at = from; at < to; at += LANES) {
      const size_t result = one.seen + (size_t)(row - one.first) * heads + at / dim;
      if (at == from || at % dim == 0) weigh(seen + result, one.chunks(), queries, weights);
      store(out + (size_t)row * heads * dim + at,
            merged(partial + result * dim + at % dim, weights, one.chunks(), queries * dim));
    }
  }

 private:
  char *mine() const { return scratch + thread_number() * scratch_bytes; }

  template <class C> const C *keys(int row, int layer) const {
    return (const C *)places[row].keys[layer];
  }

  template <class C> const C *values(int row, int layer) const {
    return (const C *)places[row].values[layer];
  }

  template <class C> void see_chunk(const Piece &piece, int layer) {
    using T = Factor<C>;
    const Sequence &one = pieces.sequences[piece.sequence];
    const int from = piece.chunk * CHUNK, rows = std::min(CHUNK, one.length() - from);
    const size_t skipped = (size_t)from * dim;
    const Packed<C> chunk(mine(), keys<C>(one.first, layer) + skipped,
                          values<C>(one.first, layer) + skipped, rows, dim);
    const Scratch<T> own(mine() + Packed<C>::bytes(CHUNK, dim), CHUNK);
    for (int block = 0; block < rows; block += LANES) chunk.pack(block);
    const Queries<T> queries{(const T *)query + (size_t)one.first * heads * dim, one.start, heads};
    const size_t results = one.seen + (size_t)piece.chunk * one.rows * heads;
    for (int i = piece.first; i < piece.first + piece.count; i += QUERIES)
      attend_some(std::min(QUERIES, piece.first + piece.count - i), queries, i, chunk, from, own,
                  partial + (results + i) * dim, seen + results + i);
  }

  template <class C> void see_all(int first, int some, const Packed<C> &all, float *out) {
    using T = Factor<C>;
    const Queries<T> queries{(const T *)query, places[0].position, heads};
    Seen of_some[QUERIES];
    attend_some(some, queries, first, all, 0, Scratch<T>(mine(), length), out, of_some);
    for (int i = 0; i < some; i++)
      for (int at = 0; at < dim; at += LANES)
        store(out + i * dim + at, load<Floats>(out + i * dim + at) * (1.0f / of_some[i].total));
  }
};
