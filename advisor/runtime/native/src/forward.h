// A sparse convolution: every output of a split over the tiles of a packed band.
#pragma once
#include "bands.h"
#include "few.h"
#include "lists.h"

namespace advisor {
namespace ADVISOR_ISA {

// One tile of a band.
struct Place {
  int64_t panel;     // offset of its first position in an input's planes
  int64_t position;  // of the output: row * out_w + column, in its image or (flat) in the line of all images
  int32_t vectors, rows, valid;
};

template <int N>
struct Forward : Bands<N, Forward<N>> {
  using Base = Bands<N, Forward<N>>;
  using Base::job;
  using Base::pixels;
  using Base::planes;
  int32_t splits;
  bool direct;  // complete sums go straight to y

  explicit Forward(const Job& j) : Base(j) {
    splits = job.splits < 1 ? 1 : job.splits > job.blocks ? job.blocks : job.splits;
    const bool one_line = job.y_row == job.out_w * job.y_col && job.y_col == 1;
    direct = job.kernel == kRows ? job.y_col == 1 : one_line && planes.pitch == job.out_w;
  }

  void run() { parallel(this->count * splits, job.threads, work, this); }

  static void work(void* self, int64_t item) {
    auto* f = static_cast<Forward*>(self);
    if (__atomic_load_n(&f->status, __ATOMIC_RELAXED) == kOk)
      f->band(item / f->splits, static_cast<int>(item % f->splits));
  }

  void flat(int64_t first, int64_t end, const Packed& packed, int split) {
    const Place place{0, first, static_cast<int32_t>((end - first + N - 1) / N), 0, static_cast<int32_t>(end - first)};
    // A tile across images is copied out by hand.
    const bool whole = first / pixels == (end - 1) / pixels;
    tile(0, place, packed, split, direct && whole);
  }

  void in_place(int64_t image, int64_t first, int64_t width, const Packed& packed, int split) {
    tile(image, Place{0, first, static_cast<int32_t>(width / N), 0, static_cast<int32_t>(width)}, packed, split,
         direct);
  }

  void rows(int64_t image, int64_t r0, int64_t r1, const Packed& packed, int split) {
    if (job.kernel == kRows) tiles_of_rows(image, r0, r1, packed, split);
    else tiles_of_line(image, r0, r1, packed, split);
  }

  // Tiles over the rows as one line; where planes are wider than the output, some positions are not kept.
  void tiles_of_line(int64_t image, int64_t r0, int64_t r1, const Packed& packed, int split) {
    const int64_t positions = (r1 - r0) * planes.pitch - (planes.pitch - job.out_w);
    const int64_t vectors = (positions + N - 1) / N, tiles = (vectors + job.vectors - 1) / job.vectors;
    for (int64_t i = 0; i < tiles; ++i) {
      const int64_t v0 = vectors * i / tiles, v1 = vectors * (i + 1) / tiles;
      int64_t valid = positions - v0 * N;
      if (valid > (v1 - v0) * N) valid = (v1 - v0) * N;
      tile(image, Place{v0 * N, r0 * job.out_w + v0 * N, static_cast<int32_t>(v1 - v0), 0, static_cast<int32_t>(valid)},
           packed, split, direct);
    }
  }

  // Tiles of whole rows; the last one moves back to end with the band, and so does the last across.
  void tiles_of_rows(int64_t image, int64_t r0, int64_t r1, const Packed& packed, int split) {
    const int64_t across = round_up(job.out_w, N) / N;
    for (int64_t r = r0; r < r1; r += job.rows) {
      if (r + job.rows > r1) r = r1 - job.rows;
      for (int64_t v = 0; v < across; v += job.vectors) {
        if (v + job.vectors > across) v = across - job.vectors;
        tile(image, Place{(r - r0) * planes.pitch + v * N, r * job.out_w + v * N, job.vectors, job.rows,
                          static_cast<int32_t>(job.out_w - v * N)},
             packed, split, direct);
      }
    }
  }

  void tile(int64_t image, const Place& place, const Packed& packed, int split, bool straight) {
    const bool rows = job.kernel == kRows;
    const int chunks = job.chunks < 1 ? 1 : job.chunks;
    Tile t{};
    t.first_block = static_cast<int32_t>(static_cast<int64_t>(job.blocks) * split / splits);
    t.last_block = static_cast<int32_t>(static_cast<int64_t>(job.blocks) * (split + 1) / splits);
    const int64_t outputs = static_cast<int64_t>(t.last_block - t.first_block) * job.block;
    const int64_t floats = static_cast<int64_t>(rows ? place.rows : 1) * place.vectors * N;
    if (chunks > 1 || !straight) {
      t.acc = static_cast<float*>(scratch(kAccSlot, sizeof(float) * outputs * floats));
      if (!t.acc) return this->fail();
    }
    const Run run = rows ? find_rows<N>(place.rows, place.vectors, job.taps_h, job.stride_h)
                         : find_list<N>(job.outputs, place.vectors, job.taps_h * job.taps_w == 1);
    if (!run) return this->fail(kBadTuning);
    t.panel = packed.panel + place.panel;
    t.input_stride = packed.input_stride;
    t.taps = packed.taps;
    t.tap_count = job.taps_h * job.taps_w;
    t.taps_w = job.taps_w;
    t.pitch = planes.pitch;
    t.block = job.block;
    t.indptr = job.indptr;
    t.inputs = job.inputs;
    t.weight = job.weight;
    t.bias = job.bias;
    t.y_channel = job.y_channel;
    t.y_row = job.y_row;
    t.valid = place.valid;
    t.activation = job.activation;
    if (straight) {
      const int64_t at = offset_of(image, place.position);
      t.y = job.y + at;
      t.residual = job.residual ? job.residual + at : nullptr;
    }
    for (int c = 0; c < chunks; ++c) {
      t.from = (static_cast<uint64_t>(c) << 32) / chunks;
      t.to = (static_cast<uint64_t>(c + 1) << 32) / chunks;
      t.first = c == 0;
      t.last = c == chunks - 1;
      run(t);
    }
    if (!straight) copy_out(image, place, t.acc, floats, t.first_block * static_cast<int64_t>(job.block), outputs);
  }

  int64_t offset_of(int64_t image, int64_t position) const {
    if (job.layout == kColumns) {
      image = position / pixels;
      position %= pixels;
    }
    return image * job.y_image + position / job.out_w * job.y_row + position % job.out_w * job.y_col;
  }

  // From (outputs, tile) to wherever y lies: other orders of axes, gaps between rows, tiles across images.
  void copy_out(int64_t image, const Place& place, float* acc, int64_t floats, int64_t channel, int64_t outputs) {
    const bool rows = job.kernel == kRows;
    const int64_t width = static_cast<int64_t>(place.vectors) * N;
    for (int line = 0; line < (rows ? place.rows : 1); ++line) {
      float* sums = acc + line * width;
      const int64_t valid = place.valid < width ? place.valid : width;
      // Runs of positions that lie evenly spaced in y.
      for (int64_t i = 0, run; i < valid; i += run) {
        int64_t at;
        if (rows) {
          at = offset_of(image, place.position + line * job.out_w + i);
          run = valid - i;
        } else if (planes.pitch == job.out_w) {
          const int64_t position = place.position + i;
          at = offset_of(image, position);
          run = job.y_row == job.out_w * job.y_col ? pixels - position % pixels : job.out_w - position % job.out_w;
        } else {
          // A line over wider planes: positions count padded ones from the band's first row.
          const int64_t r0 = (place.position - place.panel) / job.out_w;
          const int64_t q = place.panel + i, row = r0 + q / planes.pitch, column = q % planes.pitch;
          if (column >= job.out_w) {
            run = planes.pitch - column;
            continue;
          }
          at = offset_of(image, row * job.out_w + column);
          run = job.out_w - column;
        }
        if (run > valid - i) run = valid - i;
        put(sums + i, floats, at, run, channel, outputs);
      }
    }
  }

  void put(float* sums, int64_t floats, int64_t at, int64_t run, int64_t channel, int64_t outputs) {
    float* y = job.y + at + channel * job.y_channel;
    const float* residual = job.residual ? job.residual + at + channel * job.y_channel : nullptr;
    for (int64_t o = 0; o < outputs; ++o) {
      float* s = sums + o * floats;
      if (residual)
        for (int64_t i = 0; i < run; ++i) s[i] += residual[o * job.y_channel + i * job.y_col];
      if (job.activation)
        for (int64_t i = 0; i < run; i += N) {
          const int n = run - i < N ? static_cast<int>(run - i) : N;
          simd::store_some<N>(s + i, simd::activate<N>(simd::load_some<N>(s + i, n), job.activation), n);
        }
      if (job.y_channel != 1 || run == 1) {
        if (job.y_col == 1) std::memcpy(y + o * job.y_channel, s, sizeof(float) * run);
        else
          for (int64_t i = 0; i < run; ++i) y[o * job.y_channel + i * job.y_col] = s[i];
      }
    }
    if (job.y_channel == 1 && run > 1) transpose(sums, floats, y, job.y_col, outputs, run);
  }
};

// Whether these tuning values describe a computation of this job at all.
template <int N>
static bool fits(const Job& job) {
  const int taps = job.taps_h * job.taps_w;
  if (job.vectors < 1 || taps > kMaxTaps) return false;
  if (job.layout == kFew) return taps == 1 && job.kernel == kList;
  if (job.kernel == kRows)
    return job.block == 1 && job.step_h == 1 && (job.layout == kShifted || job.layout == kHalo) && job.rows >= 1 && job.rows <= job.out_h &&
           job.vectors * N <= round_up(job.out_w, N) && find_rows<N>(job.rows, job.vectors, job.taps_h, job.stride_h);
  if (job.outputs < 1 || job.block % job.outputs) return false;
  for (int v = 1; v <= job.vectors; ++v)
    if (!find_list<N>(job.outputs, v, true)) return false;
  if (job.layout != kInPlace) return job.layout == kColumns || job.layout == kShifted || job.layout == kHalo;
  return taps == 1 && job.stride_h == 1 && job.stride_w == 1 && !job.first_h && !job.first_w && job.x_col == 1 &&
         job.x_row == job.in_w && job.in_h == job.out_h && job.in_w == job.out_w &&
         job.out_h * job.out_w >= static_cast<int64_t>(job.vectors) * N;
}

// The same convolution with height and width exchanged.
static inline Job exchanged(const Job& job) {
  Job out = job;
  out.swapped = 0;
  out.in_h = job.in_w, out.in_w = job.in_h, out.out_h = job.out_w, out.out_w = job.out_h;
  out.x_row = job.x_col, out.x_col = job.x_row, out.y_row = job.y_col, out.y_col = job.y_row;
  out.taps_h = job.taps_w, out.taps_w = job.taps_h, out.stride_h = job.stride_w, out.stride_w = job.stride_h;
  out.first_h = job.first_w, out.first_w = job.first_h, out.step_h = job.step_w, out.step_w = job.step_h;
  return out;
}

template <int N>
static int32_t forward_with(const Job& job) {
  if (job.swapped)  // weights are (row, ky, kx): with one of them single, the order is the same
    return job.taps_h == 1 || job.taps_w == 1 ? forward_with<N>(exchanged(job)) : static_cast<int32_t>(kBadTuning);
  if (!fits<N>(job)) return kBadTuning;
  if (job.images * job.out_h * job.out_w == 0 || job.blocks == 0) return kOk;
  if (job.layout == kFew) {
    Few<N> work(job);
    work.run();
    return work.status;
  }
  Forward<N> work(job);
  work.run();
  return work.status;
}

}  // namespace ADVISOR_ISA
}  // namespace advisor
