#include "transposed.h"

#include <cstring>
#include <new>
#include <numeric>
#include <vector>

namespace advisor {

namespace {

// Taps that reach one phase of an axis: input index phase + stride * t reads output t + offset.
struct Phase {
  std::vector<int> taps;  // by ascending offset, that is descending
  int64_t first = 0, step = 1;
};

Phase phase_of(int phase, int taps, int stride, int first, int step) {
  Phase found;
  for (int k = taps - 1; k >= 0; --k) {
    const int64_t distance = static_cast<int64_t>(phase) - first - static_cast<int64_t>(k) * step;
    if (distance % stride != 0) continue;
    const int64_t offset = distance / stride;
    if (found.taps.empty()) found.first = offset;
    else if (found.taps.size() == 1) found.step = offset - found.first;
    found.taps.push_back(k);
  }
  return found;
}

// Zeroes the positions of a phase that no tap reaches.
void clear(const Job& job, int row, int column) {
  float* x = const_cast<float*>(job.x);
  for (int64_t n = 0; n < job.images; ++n)
    for (int64_t c = 0; c < job.in_channels; ++c)
      for (int64_t r = row; r < job.in_h; r += job.stride_h)
        for (int64_t q = column; q < job.in_w; q += job.stride_w)
          x[n * job.x_image + c * job.x_channel + r * job.x_row + q * job.x_col] = 0.0f;
}

}  // namespace

int32_t grad_input(const Job& job, int32_t (*forward)(const Job&)) try {
  const int64_t rows = job.indptr[job.blocks], block = job.block;
  const int64_t taps = static_cast<int64_t>(job.taps_h) * job.taps_w;
  if (rows * block > INT32_MAX) return kNoMemory;  // more connections than the lists can count
  // For each input, the outputs that read it: every row of a block's list stands for `block` of them.
  std::vector<int32_t> indptr(job.in_channels + 1, 0), outputs(rows * block);
  for (int64_t r = 0; r < rows; ++r) indptr[job.inputs[r] + 1] += static_cast<int32_t>(block);
  std::partial_sum(indptr.begin(), indptr.end(), indptr.begin());
  std::vector<int32_t> next(indptr.begin(), indptr.end() - 1), place(rows);
  for (int32_t b = 0; b < job.blocks; ++b)
    for (int32_t r = job.indptr[b]; r < job.indptr[b + 1]; ++r) {
      int32_t& at = next[job.inputs[r]];
      place[r] = at;
      for (int64_t o = 0; o < block; ++o) outputs[at++] = static_cast<int32_t>(b * block + o);
    }
  std::vector<float> weight;
  for (int row = 0; row < job.stride_h; ++row) {
    const Phase down = phase_of(row, job.taps_h, job.stride_h, job.first_h, job.step_h);
    for (int column = 0; column < job.stride_w; ++column) {
      if (row >= job.in_h || column >= job.in_w) continue;
      const Phase across = phase_of(column, job.taps_w, job.stride_w, job.first_w, job.step_w);
      const int64_t kept = static_cast<int64_t>(down.taps.size() * across.taps.size());
      if (kept == 0) {
        clear(job, row, column);
        continue;
      }
      weight.resize(rows * block * kept);
      for (int64_t r = 0; r < rows; ++r) {
        const float* from = job.weight + r * taps * block;
        float* to = weight.data() + place[r] * kept;
        for (const int ky : down.taps)
          for (const int kx : across.taps) {
            const float* tap = from + (static_cast<int64_t>(ky) * job.taps_w + kx) * block;
            for (int64_t o = 0; o < block; ++o) to[o * kept] = tap[o];
            ++to;
          }
      }
      Job phase = job;
      phase.in_channels = job.out_channels;
      phase.in_h = job.out_h;
      phase.in_w = job.out_w;
      phase.out_channels = job.in_channels;
      phase.out_h = (job.in_h - row + job.stride_h - 1) / job.stride_h;
      phase.out_w = (job.in_w - column + job.stride_w - 1) / job.stride_w;
      phase.x = job.y;
      phase.x_image = job.y_image;
      phase.x_channel = job.y_channel;
      phase.x_row = job.y_row;
      phase.x_col = job.y_col;
      phase.y = const_cast<float*>(job.x) + row * job.x_row + column * job.x_col;
      phase.y_image = job.x_image;
      phase.y_channel = job.x_channel;
      phase.y_row = job.x_row * job.stride_h;
      phase.y_col = job.x_col * job.stride_w;
      phase.taps_h = static_cast<int32_t>(down.taps.size());
      phase.taps_w = static_cast<int32_t>(across.taps.size());
      phase.first_h = static_cast<int32_t>(down.first);
      phase.first_w = static_cast<int32_t>(across.first);
      phase.step_h = static_cast<int32_t>(down.step);
      phase.step_w = static_cast<int32_t>(across.step);
      phase.stride_h = phase.stride_w = 1;
      phase.kept = rows * block;
      phase.block = 1;
      phase.blocks = static_cast<int32_t>(job.in_channels);
      phase.weight = weight.data();
      phase.indptr = indptr.data();
      phase.inputs = outputs.data();
      phase.bias = phase.residual = nullptr;
      phase.activation = kNone;
      int32_t status = forward(phase);
      if (status == kBadTuning) {  // chosen for another phase: any tile gives the sums
        phase.swapped = 0;
        phase.kernel = kList;
        phase.layout = kColumns;
        phase.outputs = 1;
        phase.vectors = 6;
        status = forward(phase);
      }
      if (status != kOk) return status;
    }
  }
  return kOk;
} catch (const std::bad_alloc&) {
  return kNoMemory;
}

}  // namespace advisor
