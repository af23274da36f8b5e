// What one call of the sparse kernels is told: sizes, strides, lists, and how to tile. Plain data, no ownership.
#pragma once
#include <cstdint>

namespace advisor {

enum Activation : int32_t { kNone = 0, kRelu = 1, kRelu6 = 2, kSilu = 3 };

// How the input is laid out for the kernels.
enum Layout : int32_t {
  kInPlace = 0,  // 1x1, stride 1: planes are read where they are
  kColumns = 1,  // one plane per tap (im2col): every load aligned, tiles may span images
  kShifted = 2,  // one plane per horizontal tap and vertical phase; vertical taps are offsets within it
  kHalo = 3,     // one plane per phase, padded on both sides; every tap is an offset within it
  kFew = 4,      // one tap, few positions: not packed at all
};

enum Kernel : int32_t {
  kList = 0,  // register tile: `outputs` x `vectors`
  kRows = 1,  // one output, `rows` x `vectors`: a loaded vector feeds every vertical tap
};

// Output (n, o, r, c) = activation(bias[o] + residual + sum over the kept inputs i of o's block and taps (ky, kx) of
// weight[row of i][ky][kx][o within the block] * x(n, i, r * stride_h + first_h + ky * step_h, ...)); outside x is 0.
struct Job {
  int64_t images, in_channels, in_h, in_w, out_channels, out_h, out_w, kept;  // kept: rows of all lists
  int64_t x_image, x_channel, x_row, x_col;  // strides, in floats
  int64_t y_image, y_channel, y_row, y_col;  // of the output and of the residual
  int32_t taps_h, taps_w, stride_h, stride_w;
  int32_t first_h, first_w, step_h, step_w;
  int32_t block, blocks;  // outputs that share a list; how many lists
  int32_t activation, threads;
  const float* x;
  const float* weight;     // (rows, taps_h, taps_w, block)
  const float* bias;       // (out_channels) or null
  const float* residual;   // like y, or null
  const int32_t* indptr;   // (blocks + 1)
  const int32_t* inputs;   // (rows), ascending within a list
  float* y;
  // Tuning: any legal values give the same sums, in another order.
  int32_t lanes, layout, kernel, outputs, vectors, rows, chunks, splits, swapped;
};

// Pooling of planes (rows of floats without gaps) by windows, outside x counting as nothing.
struct PoolJob {
  int64_t planes, in_h, in_w, out_h, out_w;
  int32_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
  int32_t average, count_padding, divisor, threads;  // divisor: 0 for the number of positions counted
  const float* x;
  float* y;
};

constexpr int kMaxTaps = 1024;

// Why a job cannot run; 0 when it ran.
enum Status : int32_t { kOk = 0, kNoMemory = 1, kBadTuning = 2, kBadLists = 3 };

// One instance of the kernels for each instruction set, in a namespace of its own.
namespace portable { int32_t forward(const Job&); int32_t grad_weight(const Job&, float* grad_weight); int32_t pool(const PoolJob&); }
namespace avx2 { int32_t forward(const Job&); int32_t grad_weight(const Job&, float* grad_weight); int32_t pool(const PoolJob&); }
namespace avx512vl { int32_t forward(const Job&); int32_t grad_weight(const Job&, float* grad_weight); int32_t pool(const PoolJob&); }
namespace avx512 { int32_t forward(const Job&); int32_t grad_weight(const Job&, float* grad_weight); int32_t pool(const PoolJob&); }

}  // namespace advisor
