// The part of the input that one band of output positions reads, copied into planes that the tiles load from.
#pragma once
#include "job.h"
#include "simd.h"
#include "support.h"

namespace advisor {
namespace ADVISOR_ISA {

// A run of a plane: where its first position comes from (input 0) and where it goes (relative to input 0's planes).
struct Copy {
  int64_t source;
  int32_t target, count;
};

// Planes of one input, and where each tap starts in them.
struct Planes {
  int32_t count;         // planes of an input
  int32_t extra_rows;    // rows below a band's last that its taps read
  int32_t columns;       // positions of a row that are read
  int32_t pitch;         // floats from row to row
  int32_t tap_plane[kMaxTaps], tap_row[kMaxTaps], tap_column[kMaxTaps];
  int32_t first_h[kMaxTaps], first_w[kMaxTaps];  // of each plane, in input rows and columns
};

static inline int32_t round_up(int64_t n, int64_t unit) { return static_cast<int32_t>((n + unit - 1) / unit * unit); }

// Planes for a layout; taps in order (ky, kx).
static inline void plan_planes(const Job& job, int lanes, Planes& p) {
  p.extra_rows = 0;
  p.count = 0;
  p.columns = static_cast<int32_t>(job.out_w);
  const bool columns = job.layout == kColumns || job.layout == kInPlace;
  for (int ky = 0; ky < job.taps_h; ++ky) {
    for (int kx = 0; kx < job.taps_w; ++kx) {
      const int k = ky * job.taps_w + kx;
      int h = ky * job.step_h, w = kx * job.step_w;
      int row = 0, column = 0;
      if (!columns) {
        row = h / job.stride_h;
        h %= job.stride_h;
        if (job.layout == kHalo) {
          column = w / job.stride_w;
          w %= job.stride_w;
        }
      }
      h += job.first_h;
      w += job.first_w;
      int plane = 0;
      while (plane < p.count && !(p.first_h[plane] == h && p.first_w[plane] == w)) ++plane;
      if (plane == p.count) {
        p.first_h[plane] = h;
        p.first_w[plane] = w;
        ++p.count;
      }
      p.tap_plane[k] = plane;
      p.tap_row[k] = row;
      p.tap_column[k] = column;
      if (row > p.extra_rows) p.extra_rows = row;
      if (column + job.out_w > p.columns) p.columns = static_cast<int32_t>(column + job.out_w);
    }
  }
  p.pitch = job.kernel == kRows ? round_up(p.columns, lanes) : p.columns;
}

// First and last + 1 of n positions whose input index first + i * stride lies in [0, size).
static inline void inside(int64_t first, int64_t stride, int64_t size, int64_t n, int64_t& low, int64_t& high) {
  low = first >= 0 ? 0 : (-first + stride - 1) / stride;
  high = first >= size ? 0 : (size - first + stride - 1) / stride;
  if (high > n) high = n;
  if (low > high) low = high;
}

// The copies for `count` output positions of one row, starting at column `column`, read through one plane.
static inline int copies_of_row(const Job& job, int64_t image, int64_t row, int64_t column, int64_t count,
                                int64_t first_h, int64_t first_w, int32_t target, Copy* out) {
  const int64_t h = row * job.stride_h + first_h;
  if (h < 0 || h >= job.in_h) return 0;
  int64_t low, high;
  const int64_t w = column * job.stride_w + first_w;
  inside(w, job.stride_w, job.in_w, count, low, high);
  if (low == high) return 0;
  out->source = image * job.x_image + h * job.x_row + (w + low * job.stride_w) * job.x_col;
  out->target = target + static_cast<int32_t>(low);
  out->count = static_cast<int32_t>(high - low);
  return 1;
}

// Joins runs that continue each other on both sides: a 1x1 layer then copies whole stretches of its planes.
static inline int join(Copy* copies, int n, int64_t step) {
  int kept = 0;
  for (int i = 0; i < n; ++i) {
    Copy& last = copies[kept - (kept > 0)];
    if (kept > 0 && last.source + last.count * step == copies[i].source && last.target + last.count == copies[i].target)
      last.count += copies[i].count;
    else
      copies[kept++] = copies[i];
  }
  return kept;
}

// Four inputs of four positions at once, for channels-last tensors.
static ADVISOR_INLINE void transpose4(const float* x, int64_t position, float* y, int64_t channel) {
  using V = simd::vec<4>;
  const V a = simd::load<4>(x), b = simd::load<4>(x + position);
  const V c = simd::load<4>(x + 2 * position), d = simd::load<4>(x + 3 * position);
  const V ab0 = ADVISOR_SHUFFLE(4, a, b, 0, 4, 1, 5), ab1 = ADVISOR_SHUFFLE(4, a, b, 2, 6, 3, 7);
  const V cd0 = ADVISOR_SHUFFLE(4, c, d, 0, 4, 1, 5), cd1 = ADVISOR_SHUFFLE(4, c, d, 2, 6, 3, 7);
  simd::store<4>(y, ADVISOR_SHUFFLE(4, ab0, cd0, 0, 1, 4, 5));
  simd::store<4>(y + channel, ADVISOR_SHUFFLE(4, ab0, cd0, 2, 3, 6, 7));
  simd::store<4>(y + 2 * channel, ADVISOR_SHUFFLE(4, ab1, cd1, 0, 1, 4, 5));
  simd::store<4>(y + 3 * channel, ADVISOR_SHUFFLE(4, ab1, cd1, 2, 3, 6, 7));
}

// y[j * to_major + i] = x[i * from_major + j]: `rows` x `columns` numbers change places.
static inline void transpose(const float* x, int64_t from_major, float* y, int64_t to_major, int64_t rows,
                             int64_t columns) {
  int64_t i = 0;
  for (; i + 4 <= rows; i += 4) {
    int64_t j = 0;
    for (; j + 4 <= columns; j += 4) transpose4(x + i * from_major + j, from_major, y + j * to_major + i, to_major);
    for (; j < columns; ++j)
      for (int64_t k = i; k < i + 4; ++k) y[j * to_major + k] = x[k * from_major + j];
  }
  for (; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) y[j * to_major + i] = x[i * from_major + j];
}

// count floats, the last vector overlapping the one before it instead of going float by float.
template <int N>
static ADVISOR_INLINE void copy_run(float* to, const float* from, int count) {
  int i = 0;
  for (; i + N <= count; i += N) simd::store<N>(to + i, simd::load<N>(from + i));
  if (i == count) return;
  if (i > 0) {
    simd::store<N>(to + count - N, simd::load<N>(from + count - N));
  } else if constexpr (N > 4) {
    copy_run<N / 2>(to, from, count);
  } else {
    for (; i < count; ++i) to[i] = from[i];
  }
}

template <int... I>
static ADVISOR_INLINE simd::vec<sizeof...(I)> even_lanes(simd::vec<sizeof...(I)> a, simd::vec<sizeof...(I)> b,
                                                         std::integer_sequence<int, I...>) {
  return ADVISOR_SHUFFLE(sizeof...(I), a, b, (2 * I)...);
}

// Every other float, as layers of stride 2 read their rows.
template <int N>
static ADVISOR_INLINE void copy_even(float* to, const float* from, int count) {
  int i = 0;
  // The last float of the second vector is not needed, and may lie behind the input.
  for (; i + N < count; i += N)
    simd::store<N>(to + i, even_lanes(simd::load<N>(from + 2 * i), simd::load<N>(from + 2 * i + N),
                                      std::make_integer_sequence<int, N>{}));
  for (; i < count; ++i) to[i] = from[2 * i];
}

// Where the runs leave gaps: everything that must read as zero. Runs ascend; returns how many gaps there are.
static inline int gaps_between(const Copy* copies, int n, int64_t size, Copy* out) {
  int found = 0, at = 0;
  for (int i = 0; i <= n; ++i) {
    const int next = i < n ? copies[i].target : static_cast<int>(size);
    if (next > at) out[found++] = Copy{0, at, next - at};
    if (i < n) at = copies[i].target + copies[i].count;
  }
  return found;
}

// Fills every input's planes; `copies` has room for n + 1 more behind the runs.
static inline void pack(const Job& job, Copy* copies, int n, int64_t input_stride, float* panel) {
  const int64_t step = job.stride_w * job.x_col;
  Copy* gaps = copies + n;
  const int gap_count = gaps_between(copies, n, input_stride, gaps);
  if (job.x_channel == 1 && step > 1)
    for (int i = 0; i < n; ++i)
      transpose(job.x + copies[i].source, step, panel + copies[i].target, input_stride, copies[i].count,
                job.in_channels);
  for (int64_t channel = 0; channel < job.in_channels; ++channel) {
    const float* x = job.x + channel * job.x_channel;
    float* plane = panel + channel * input_stride;
    for (int i = 0; i < gap_count; ++i) {
      float* to = plane + gaps[i].target;
      for (int j = 0; j < gaps[i].count; ++j) to[j] = 0.0f;
    }
    if (job.x_channel == 1 && step > 1) continue;
    for (int i = 0; i < n; ++i) {
      const float* from = x + copies[i].source;
      float* to = plane + copies[i].target;
      const int count = copies[i].count;
      if (step == 1) copy_run<ADVISOR_LANES>(to, from, count);
      else if (step == 2) copy_even<ADVISOR_LANES>(to, from, count);
      else
        for (int j = 0; j < count; ++j) to[j] = from[j * step];
    }
  }
}

}  // namespace ADVISOR_ISA
}  // namespace advisor
