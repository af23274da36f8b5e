// Layers of one tap over few positions, as linear layers of one row are: vectors run along the outputs of a block, or,
// where every output has a list of its own, along nothing: a product at a time, several sums apart.
#pragma once
#include "simd.h"
#include "support.h"

namespace advisor {
namespace ADVISOR_ISA {

template <int N>
struct Few {
  const Job& job;
  int32_t status = kOk;
  int64_t pixels, positions;

  explicit Few(const Job& j) : job(j), pixels(j.out_h * j.out_w), positions(j.images * pixels) {}

  static constexpr int64_t kOutputs = 64;  // that one item of work covers, about

  int64_t blocks_of_item() const { return job.block >= kOutputs ? 1 : kOutputs / job.block; }

  void run() {
    const int64_t each = blocks_of_item();
    parallel((job.blocks + each - 1) / each, job.threads, work, this);
  }

  static void work(void* self, int64_t item) {
    auto* f = static_cast<Few*>(self);
    const int64_t each = f->blocks_of_item(), first = item * each;
    const int64_t last = first + each < f->job.blocks ? first + each : f->job.blocks;
    for (int64_t q = 0; q < f->positions; ++q) f->position(q, first, last);
  }

  void position(int64_t q, int64_t first, int64_t last) {
    const int64_t image = q / pixels, row = q % pixels / job.out_w, column = q % job.out_w;
    const int64_t h = row * job.stride_h + job.first_h, w = column * job.stride_w + job.first_w;
    const bool inside = h >= 0 && h < job.in_h && w >= 0 && w < job.in_w;
    const float* x = job.x + image * job.x_image + h * job.x_row + w * job.x_col;
    const int64_t at = image * job.y_image + row * job.y_row + column * job.y_col;
    for (int64_t b = first; b < last; ++b) {
      const int64_t from = job.indptr[b], to = inside ? job.indptr[b + 1] : from;
      for (int o = 0; o < job.block;) {
        float sums[N];
        const float* weight = job.weight + from * job.block + o;
        const int32_t* inputs = job.inputs + from;
        int width = 1;
        if (job.block - o >= N) width = along<N>(x, inputs, weight, to - from, sums);
        else if (job.block - o >= 4) width = along<4>(x, inputs, weight, to - from, sums);
        else sums[0] = single(x, inputs, weight, to - from);
        for (int i = 0; i < width; ++i, ++o) finish_one(b * job.block + o, at, sums[i]);
      }
    }
  }

  // L outputs beside each other.
  template <int L>
  int along(const float* x, const int32_t* inputs, const float* weight, int64_t count, float* out) const {
    using V = simd::vec<L>;
    V sums[4] = {};
    int64_t j = 0;
    for (; j + 4 <= count; j += 4)
      simd::unroll<4>([&](auto k) ADVISOR_LAMBDA {
        sums[k] += simd::splat<L>(x[inputs[j + k] * job.x_channel]) * simd::load<L>(weight + (j + k) * job.block);
      });
    for (; j < count; ++j)
      sums[0] += simd::splat<L>(x[inputs[j] * job.x_channel]) * simd::load<L>(weight + j * job.block);
    simd::store<L>(out, (sums[0] + sums[1]) + (sums[2] + sums[3]));
    return L;
  }

  float single(const float* x, const int32_t* inputs, const float* weight, int64_t count) const {
    float sums[8] = {};
    int64_t j = 0;
    for (; j + 8 <= count; j += 8)
      simd::unroll<8>([&](auto k) ADVISOR_LAMBDA {
        sums[k] += x[inputs[j + k] * job.x_channel] * weight[(j + k) * job.block];
      });
    for (; j < count; ++j) sums[0] += x[inputs[j] * job.x_channel] * weight[j * job.block];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  }

  void finish_one(int64_t channel, int64_t at, float sum) {
    const int64_t place = at + channel * job.y_channel;
    if (job.bias) sum += job.bias[channel];
    if (job.residual) sum += job.residual[place];
    job.y[place] = simd::activate<4>(simd::splat<4>(sum), job.activation)[0];
  }
};

}  // namespace ADVISOR_ISA
}  // namespace advisor
