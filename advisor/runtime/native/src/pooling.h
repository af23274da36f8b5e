// Maximum and average pooling over planes of rows. torch's own takes one value at a time in this order of axes, and
// beside sparse layers that is a good part of a network's time.
#pragma once
#include "panel.h"

namespace advisor {
namespace ADVISOR_ISA {

template <int N>
struct Pooling {
  using V = simd::vec<N>;
  const PoolJob& job;
  int32_t status = kOk;

  explicit Pooling(const PoolJob& j) : job(j) {}

  static constexpr int64_t kPlanes = 8;  // that one item of work covers

  void run() { parallel((job.planes + kPlanes - 1) / kPlanes, job.threads, work, this); }

  static void work(void* self, int64_t item) {
    auto* p = static_cast<Pooling*>(self);
    const int64_t end = (item + 1) * kPlanes < p->job.planes ? (item + 1) * kPlanes : p->job.planes;
    if (p->job.average) p->template planes<true>(item * kPlanes, end);
    else p->template planes<false>(item * kPlanes, end);
  }

  template <bool AVERAGE>
  static ADVISOR_INLINE V join(V so_far, V more) {
    // NaN wins, as in torch.
    if constexpr (AVERAGE) return so_far + more;
    else return (more > so_far) | (more != more) ? more : so_far;
  }

  template <bool AVERAGE>
  void planes(int64_t first, int64_t end) {
    // One row after the windows' vertical part, with its padding on both sides; behind it, how many columns each
    // window counts.
    const int64_t width = round_up(job.out_w, N), length = width * job.stride_w + job.kernel_w + 2 * N;
    auto* line = static_cast<float*>(scratch(kPanelSlot, sizeof(float) * (length + width)));
    if (!line) return __atomic_store_n(&status, static_cast<int32_t>(kNoMemory), __ATOMIC_RELAXED);
    float* counts = line + length;
    for (int64_t i = 0; i < length; ++i) line[i] = AVERAGE ? 0.0f : -__builtin_inff();
    for (int64_t c = 0; c < width; ++c)
      counts[c] = static_cast<float>(counted(c, job.stride_w, job.pad_w, job.kernel_w, job.in_w));
    for (int64_t plane = first; plane < end; ++plane) {
      const float* x = job.x + plane * job.in_h * job.in_w;
      float* y = job.y + plane * job.out_h * job.out_w;
      for (int64_t r = 0; r < job.out_h; ++r) {
        down<AVERAGE>(x, r, line + job.pad_w);
        const float rows = static_cast<float>(counted(r, job.stride_h, job.pad_h, job.kernel_h, job.in_h));
        across<AVERAGE>(line, counts, rows, y + r * job.out_w);
      }
    }
  }

  // Positions that a window counts along one axis: torch clips it to the padded input, or to the input alone.
  int64_t counted(int64_t i, int64_t stride, int64_t pad, int64_t kernel, int64_t size) const {
    int64_t low = i * stride - pad, high = low + kernel < size + pad ? low + kernel : size + pad;
    if (!job.count_padding) {
      if (low < 0) low = 0;
      if (high > size) high = size;
    }
    return high > low ? high - low : 1;
  }

  template <bool AVERAGE>
  void down(const float* x, int64_t r, float* line) const {
    int64_t low = r * job.stride_h - job.pad_h, high = low + job.kernel_h;
    if (low < 0) low = 0;
    if (high > job.in_h) high = job.in_h;
    for (int64_t i = 0; i < job.in_w; i += N) {
      const int n = job.in_w - i < N ? static_cast<int>(job.in_w - i) : N;
      V v = AVERAGE ? V{} : simd::splat<N>(-__builtin_inff());
      for (int64_t h = low; h < high; ++h) v = join<AVERAGE>(v, simd::load_some<N>(x + h * job.in_w + i, n));
      simd::store_some<N>(line + i, v, n);
    }
  }

  template <bool AVERAGE>
  void across(const float* line, const float* counts, float rows, float* y) const {
    for (int64_t c = 0; c < job.out_w; c += N) {
      V v = columns(line + c * job.stride_w);
      for (int k = 1; k < job.kernel_w; ++k) v = join<AVERAGE>(v, columns(line + c * job.stride_w + k));
      if constexpr (AVERAGE)
        v = v / (job.divisor ? simd::splat<N>(static_cast<float>(job.divisor)) : simd::load<N>(counts + c) * rows);
      simd::store_some<N>(y + c, v, job.out_w - c < N ? static_cast<int>(job.out_w - c) : N);
    }
  }

  // Every stride-th value.
  ADVISOR_INLINE V columns(const float* line) const {
    if (job.stride_w == 1) return simd::load<N>(line);
    if (job.stride_w == 2)
      return even_lanes(simd::load<N>(line), simd::load<N>(line + N), std::make_integer_sequence<int, N>{});
    float lanes[N];
    for (int i = 0; i < N; ++i) lanes[i] = line[static_cast<int64_t>(i) * job.stride_w];
    return simd::load<N>(lanes);
  }
};

}  // namespace ADVISOR_ISA
}  // namespace advisor
