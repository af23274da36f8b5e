// Bands of output positions: the part of the input that each one reads is packed into planes once and handed on.
#pragma once
#include "panel.h"

namespace advisor {
namespace ADVISOR_ISA {

// Where a packed band lies.
struct Packed {
  const float* panel;
  int64_t input_stride;  // floats from an input's planes to the next input's
  const int32_t* taps;   // where each tap starts in them
};

// `Use` has flat(first, end, packed, ...) for positions of all images in one line, in_place(image, first, count,
// packed, ...) for positions of one, and rows(image, r0, r1, packed, ...) for rows of one; `split` is passed through.
template <int N, class Use>
struct Bands {
  const Job& job;
  Planes planes;
  int32_t status = kOk;
  int64_t pixels;  // of an image
  int64_t count, bands_of_image = 1;

  explicit Bands(const Job& j) : job(j), pixels(j.out_h * j.out_w) {
    plan_planes(job, N, planes);
    const int64_t tile = static_cast<int64_t>(job.vectors) * N;
    if (job.layout == kColumns) {
      count = (job.images * pixels + tile - 1) / tile;
    } else if (job.layout == kInPlace) {
      count = (pixels + tile - 1) / tile * job.images;
    } else {
      // Planes of a band stay in the second-level cache; rows that its taps read below it are packed twice.
      const int64_t row_bytes = 4 * job.in_channels * planes.count * planes.pitch;
      int64_t fit = kPanelBytes / row_bytes - planes.extra_rows;
      const int64_t least = job.kernel == kRows ? job.rows : 1 + planes.extra_rows;
      if (fit < least) fit = least;
      bands_of_image = (job.out_h + fit - 1) / fit;
      if (bands_of_image > job.out_h / least && job.out_h >= least) bands_of_image = job.out_h / least;
      if (bands_of_image > job.out_h) bands_of_image = job.out_h;
      count = bands_of_image * job.images;
    }
  }

  static constexpr int64_t kPanelBytes = 640 << 10;

  void band(int64_t index, int split) {
    if (job.layout == kColumns) flat_band(index, split);
    else if (job.layout == kInPlace) in_place_band(index, split);
    else plane_band(index, split);
  }

  // 1x1 layers that read their input where it is. The last band moves back to end with its plane, so that nothing is
  // read behind it; positions that two bands share get the same sums twice, from the same thread.
  void in_place_band(int64_t index, int split) {
    const int64_t bands = count / job.images, image = index / bands, last = bands - 1;
    const int64_t i = index % bands;
    if (i == last && last > 0) return;
    in_place_part(image, i, bands, split);
    if (i + 1 == last) in_place_part(image, last, bands, split);
  }

  void in_place_part(int64_t image, int64_t i, int64_t bands, int split) {
    static const int32_t tap = 0;
    const int64_t vectors = (pixels + N - 1) / N;
    int64_t first = vectors * i / bands * N;
    const int64_t end = vectors * (i + 1) / bands * N, width = end - first;
    if (end > pixels) first = pixels - width;
    use()->in_place(image, first, width, Packed{job.x + image * job.x_image + first, job.x_channel, &tap}, split);
  }

  // Positions of all images as one line; the planes hold just this band's.
  void flat_band(int64_t index, int split) {
    const int64_t total = job.images * pixels, vectors = (total + N - 1) / N;
    const int64_t first = vectors * index / count * N, width = vectors * (index + 1) / count * N - first;
    const int64_t end = first + width < total ? first + width : total;
    const int64_t stride = planes.count * width;
    auto* copies = static_cast<Copy*>(scratch(kCopySlot, sizeof(Copy) * (2 * planes.count * (width + 2) + 1)));
    auto* panel = static_cast<float*>(scratch(kPanelSlot, sizeof(float) * (job.in_channels * stride + 16 * N)));
    auto* taps = static_cast<int32_t*>(scratch(kTapSlot, sizeof planes.tap_plane));
    if (!copies || !panel || !taps) return fail();
    int n = 0;
    for (int p = 0; p < planes.count; ++p) {
      const int begin = n;
      for (int64_t q = first; q < end;) {
        const int64_t image = q / pixels, row = q % pixels / job.out_w, column = q % job.out_w;
        int64_t run = job.out_w - column;
        if (run > end - q) run = end - q;
        n += copies_of_row(job, image, row, column, run, planes.first_h[p], planes.first_w[p],
                           static_cast<int32_t>(p * width + q - first), copies + n);
        q += run;
      }
      n = begin + join(copies + begin, n - begin, job.stride_w * job.x_col);
    }
    pack(job, copies, n, stride, panel);
    for (int k = 0; k < job.taps_h * job.taps_w; ++k) taps[k] = static_cast<int32_t>(planes.tap_plane[k] * width);
    use()->flat(first, end, Packed{panel, stride, taps}, split);
  }

  // Rows of one image with all that their taps read.
  void plane_band(int64_t index, int split) {
    const int64_t image = index / bands_of_image, i = index % bands_of_image;
    const int64_t r0 = job.out_h * i / bands_of_image, r1 = job.out_h * (i + 1) / bands_of_image;
    const int64_t rows = r1 - r0 + planes.extra_rows;
    const int64_t plane = round_up(rows * planes.pitch, N);
    int64_t stride = plane * planes.count;
    if (stride / 16 % 2 == 0) stride += stride % 16 == 0 ? 16 : N;  // inputs spread over the sets of the cache
    auto* copies = static_cast<Copy*>(scratch(kCopySlot, sizeof(Copy) * (2 * planes.count * rows + 1)));
    auto* panel = static_cast<float*>(scratch(kPanelSlot, sizeof(float) * (job.in_channels * stride + 16 * N)));
    auto* taps = static_cast<int32_t*>(scratch(kTapSlot, sizeof planes.tap_plane));
    if (!copies || !panel || !taps) return fail();
    int n = 0;
    for (int p = 0; p < planes.count; ++p) {
      const int begin = n;
      for (int64_t r = 0; r < rows; ++r)
        n += copies_of_row(job, image, r0 + r, 0, planes.columns, planes.first_h[p], planes.first_w[p],
                           static_cast<int32_t>(p * plane + r * planes.pitch), copies + n);
      n = begin + join(copies + begin, n - begin, job.stride_w * job.x_col);
    }
    pack(job, copies, n, stride, panel);
    for (int k = 0; k < job.taps_h * job.taps_w; ++k)
      taps[k] = static_cast<int32_t>(planes.tap_plane[k] * plane + planes.tap_row[k] * planes.pitch +
                                     planes.tap_column[k]);
    use()->rows(image, r0, r1, Packed{panel, stride, taps}, split);
  }

  Use* use() { return static_cast<Use*>(this); }

  void fail(int32_t why = kNoMemory) { __atomic_store_n(&status, why, __ATOMIC_RELAXED); }
};

}  // namespace ADVISOR_ISA
}  // namespace advisor
