// Gradient of the kept weights: for each connection and tap, the product of its input and the output's gradient,
// summed over all positions. Every weight is summed by one thread, band after band: the same sum on any number of them.
#pragma once
#include "bands.h"

namespace advisor {
namespace ADVISOR_ISA {

template <int N>
struct GradWeight : Bands<N, GradWeight<N>> {
  using Base = Bands<N, GradWeight<N>>;
  using Base::job;
  using Base::pixels;
  using Base::planes;
  float* grad;
  int32_t splits;

  GradWeight(const Job& j, float* g) : Base(j), grad(g) {
    splits = job.threads < 1 ? 1 : job.threads > job.blocks ? job.blocks : job.threads;
  }

  void run() { parallel(splits, job.threads, work, this); }

  static void work(void* self, int64_t split) {
    auto* f = static_cast<GradWeight*>(self);
    const int64_t entry = static_cast<int64_t>(f->job.taps_h) * f->job.taps_w * f->job.block;
    const int64_t from = f->job.indptr[f->first_block(split)] * entry, to = f->job.indptr[f->last_block(split)] * entry;
    std::memset(f->grad + from, 0, sizeof(float) * (to - from));
    for (int64_t i = 0; i < f->count && __atomic_load_n(&f->status, __ATOMIC_RELAXED) == kOk; ++i)
      f->band(i, static_cast<int>(split));
  }

  int32_t first_block(int64_t split) const { return static_cast<int32_t>(job.blocks * split / splits); }
  int32_t last_block(int64_t split) const { return static_cast<int32_t>(job.blocks * (split + 1) / splits); }

  void flat(int64_t first, int64_t end, const Packed& packed, int split) {
    positions(0, first, end - first, packed, split);
  }
  void in_place(int64_t image, int64_t first, int64_t width, const Packed& packed, int split) {
    positions(image, first, width, packed, split);
  }
  void rows(int64_t image, int64_t r0, int64_t r1, const Packed& packed, int split) {
    positions(image, r0 * job.out_w, (r1 - r0) * job.out_w, packed, split);
  }

  void positions(int64_t image, int64_t first, int64_t n, const Packed& packed, int split) {
    const int32_t b0 = first_block(split), b1 = last_block(split);
    const int64_t width = round_up(n, N), channel = static_cast<int64_t>(b0) * job.block;
    const int64_t outputs = static_cast<int64_t>(b1 - b0) * job.block;
    auto* y = static_cast<float*>(scratch(kGradSlot, sizeof(float) * outputs * width));
    if (!y) return this->fail();
    gather(image, first, n, width, channel, outputs, y);
    const int taps = job.taps_h * job.taps_w;
    for (int32_t b = b0; b < b1; ++b) {
      const int64_t start = job.indptr[b], entries = (job.indptr[b + 1] - start) * taps;
      auto* offsets = static_cast<int64_t*>(scratch(kListSlot, sizeof(int64_t) * (entries + 1)));
      if (!offsets) return this->fail();
      int64_t at = 0;
      for (int64_t r = start; r < job.indptr[b + 1]; ++r)
        for (int k = 0; k < taps; ++k) offsets[at++] = job.inputs[r] * packed.input_stride + packed.taps[k];
      block_of(offsets, entries, y + static_cast<int64_t>(b - b0) * job.block * width, width, n,
               grad + start * taps * job.block, packed.panel);
    }
  }

  static constexpr int kEntries = N / 4;  // with four outputs: as many sums as a vector has lanes

  // All (connection, tap) entries of a list against the outputs of its block. What a few entries load stays close
  // while every output uses it.
  void block_of(const int64_t* offsets, int64_t entries, const float* y, int64_t width, int64_t n, float* grads,
                const float* panel) {
    const int block = job.block;
    int64_t e = 0;
    if (block == 1)
      for (; e + N <= entries; e += N) dots<1, N>(panel, offsets + e, y, width, n, grads + e);
    for (; block >= 4 && e + kEntries <= entries; e += kEntries) {
      int o = 0;
      for (; o + 4 <= block; o += 4)
        dots<4, kEntries>(panel, offsets + e, y + o * width, width, n, grads + e * block + o);
      for (; o < block; ++o)
        for (int i = 0; i < kEntries; ++i)
          dots<1, 1>(panel, offsets + e + i, y + o * width, width, n, grads + (e + i) * block + o);
    }
    for (; e < entries; ++e)
      for (int o = 0; o < block; ++o) dots<1, 1>(panel, offsets + e, y + o * width, width, n, grads + e * block + o);
  }

  // The output's gradient of a band, (outputs, width), zero behind its n positions.
  void gather(int64_t image, int64_t first, int64_t n, int64_t width, int64_t channel, int64_t outputs, float* to) {
    for (int64_t i = 0, run; i < n; i += run) {
      int64_t from = image, q = first + i;
      if (job.layout == kColumns) {
        from = q / pixels;
        q %= pixels;
      }
      const bool one_line = job.y_row == job.out_w * job.y_col;
      run = one_line ? pixels - q : job.out_w - q % job.out_w;
      if (run > n - i) run = n - i;
      const float* y = job.y + from * job.y_image + q / job.out_w * job.y_row + q % job.out_w * job.y_col +
                       channel * job.y_channel;
      if (job.y_channel == 1 && run > 1) {
        transpose(y, job.y_col, to + i, width, run, outputs);
        continue;
      }
      for (int64_t o = 0; o < outputs; ++o) {
        const float* line = y + o * job.y_channel;
        if (job.y_col == 1) std::memcpy(to + o * width + i, line, sizeof(float) * run);
        else
          for (int64_t k = 0; k < run; ++k) to[o * width + i + k] = line[k * job.y_col];
      }
    }
    for (int64_t o = 0; o < outputs; ++o)
      if (width > n) std::memset(to + o * width + n, 0, sizeof(float) * (width - n));
  }

  // B outputs against E entries: each sum over the band's positions is added to its place, (entry, output).
  template <int B, int E>
  ADVISOR_INLINE void dots(const float* panel, const int64_t* offsets, const float* y, int64_t width, int64_t n,
                           float* grads) {
    using V = simd::vec<N>;
    const float* x[E];
    simd::unroll<E>([&](auto i) ADVISOR_LAMBDA { x[i] = panel + offsets[i]; });
    V sums[E * B];
    simd::unroll<E * B>([&](auto q) ADVISOR_LAMBDA { sums[q] = V{}; });
    int64_t v = 0;
    for (; v + N <= n; v += N) {
      V g[B];
      simd::unroll<B>([&](auto b) ADVISOR_LAMBDA {
        g[b] = simd::load<N>(y + b * width + v);
        ADVISOR_KEEP(g[b]);
      });
      simd::unroll<E>([&](auto i) ADVISOR_LAMBDA {
        V loaded = simd::load<N>(x[i] + v);
        if constexpr (B > 1) ADVISOR_KEEP(loaded);
        simd::unroll<B>([&](auto b) ADVISOR_LAMBDA { sums[i * B + b] += g[b] * loaded; });
      });
    }
    if (v < n) {
      // Lanes behind the end belong to others, and what is not finite there must not come in.
      simd::unroll<E>([&](auto i) ADVISOR_LAMBDA {
        const V loaded = simd::load_some<N>(x[i] + v, static_cast<int>(n - v));
        simd::unroll<B>([&](auto b) ADVISOR_LAMBDA {
          sums[i * B + b] += simd::load<N>(y + b * width + v) * loaded;
        });
      });
    }
    if constexpr (E * B == N) {
      const V all = simd::sums<N>(sums);
      simd::unroll<E>([&](auto i) ADVISOR_LAMBDA {
        simd::unroll<B>([&](auto b) ADVISOR_LAMBDA { grads[(B == 1 ? i : i * job.block) + b] += all[i * B + b]; });
      });
    } else {
      grads[0] += simd::sum<N>(sums[0]);
    }
  }
};

template <int N>
static int32_t grad_weight_with(const Job& job, float* grad) {
  const bool planes = job.layout == kShifted && job.kernel == kList;
  if (job.vectors < 1 || job.taps_h * job.taps_w > kMaxTaps || !(planes || job.layout == kColumns)) return kBadTuning;
  if (job.blocks == 0) return kOk;
  if (job.images * job.out_h * job.out_w == 0) {  // no position to plan bands for
    const int64_t rows = job.indptr[job.blocks];
    std::memset(grad, 0, sizeof(float) * rows * job.taps_h * job.taps_w * job.block);
    return kOk;
  }
  GradWeight<N> work(job, grad);
  work.run();
  return work.status;
}

}  // namespace ADVISOR_ISA
}  // namespace advisor
