// The register tiles: outputs x vectors of positions, summed over a list of inputs and all their taps.
#pragma once
#include "simd.h"

namespace advisor {
namespace ADVISOR_ISA {

// One tile of positions, for every output of the blocks [first_block, last_block).
struct Tile {
  const float* panel;    // input 0, tap 0, first position of the tile
  int64_t input_stride;  // floats from an input to the next
  const int32_t* taps;   // where each tap starts within an input; for rows, each horizontal tap
  int32_t tap_count, taps_w;
  int64_t pitch;  // rows: floats between rows of a plane
  int32_t block, first_block, last_block;
  const int32_t *indptr, *inputs;
  const float *weight, *bias;
  uint64_t from, to;  // which part of every list, in 1/2^32: positions in it, so that no list has to be searched
  bool first, last;   // whether sums start from the bias; whether they are complete and go to y
  float* acc;         // sums between parts: (outputs, tile)
  float* y;           // null: complete sums go to acc, too
  const float* residual;
  int64_t y_channel, y_row;
  int32_t valid;  // positions of the tile (of each of its rows) that exist
  int32_t activation;
};

template <int N>
static ADVISOR_INLINE void finish(const Tile& t, float* y, const float* residual, simd::vec<N> v, int valid) {
  if (residual) v += simd::load_some<N>(residual, valid);
  simd::store_some<N>(y, simd::activate<N>(v, t.activation), valid);
}

// B outputs x T vectors. ONE: a single tap.
template <int N, int B, int T, bool ONE>
static void list_tile(const Tile& t) {
  using V = simd::vec<N>;
  const int parts = t.block / B;
  const int64_t entry = static_cast<int64_t>(t.tap_count) * t.block;
  float* acc = t.acc;
  int64_t channel = static_cast<int64_t>(t.first_block) * t.block;
  for (int32_t block = t.first_block; block < t.last_block; ++block) {
    const int64_t start = t.indptr[block], count = t.indptr[block + 1] - start;
    const int64_t from = start + static_cast<int64_t>((count * t.from) >> 32);
    const int64_t to = start + static_cast<int64_t>((count * t.to) >> 32);
    for (int part = 0; part < parts; ++part, channel += B, acc += B * T * N) {
      V sums[B * T];
      if (t.first) {
        simd::unroll<B>([&](auto b) ADVISOR_LAMBDA {
          const V value = simd::splat<N>(t.bias ? t.bias[channel + b] : 0.0f);
          simd::unroll<T>([&](auto v) ADVISOR_LAMBDA { sums[b * T + v] = value; });
        });
      } else {
        simd::unroll<B * T>([&](auto q) ADVISOR_LAMBDA { sums[q] = simd::load<N>(acc + N * q); });
      }
      const float* w = t.weight + from * entry + part * B;
      int64_t j = from;
      if constexpr (ONE && B == 1 && T <= 6) {
        // Two sums of each, so that a short tile does not wait for its own additions.
        V others[T];
        simd::unroll<T>([&](auto v) ADVISOR_LAMBDA { others[v] = V{}; });
        for (; j + 2 <= to; j += 2, w += 2 * t.block) {
          const float* even = t.panel + t.inputs[j] * t.input_stride;
          const float* odd = t.panel + t.inputs[j + 1] * t.input_stride;
          const V first = simd::splat<N>(w[0]), second = simd::splat<N>(w[t.block]);
          simd::unroll<T>([&](auto v) ADVISOR_LAMBDA { sums[v] += first * simd::load<N>(even + N * v); });
          simd::unroll<T>([&](auto v) ADVISOR_LAMBDA { others[v] += second * simd::load<N>(odd + N * v); });
        }
        simd::unroll<T>([&](auto v) ADVISOR_LAMBDA { sums[v] += others[v]; });
      }
      for (; j < to; ++j) {
        const float* plane = t.panel + t.inputs[j] * t.input_stride;
        const int taps = ONE ? 1 : t.tap_count;
#pragma GCC unroll 1
        for (int k = 0; k < taps; ++k, w += t.block) {
          const float* x = ONE ? plane : plane + t.taps[k];
          if constexpr (B == 1) {
            const V weight = simd::splat<N>(*w);
            simd::unroll<T>([&](auto v) ADVISOR_LAMBDA { sums[v] += weight * simd::load<N>(x + N * v); });
          } else {
            V loaded[T];
            simd::unroll<T>([&](auto v) ADVISOR_LAMBDA {
              loaded[v] = simd::load<N>(x + N * v);
              ADVISOR_KEEP(loaded[v]);
            });
            simd::unroll<B>([&](auto b) ADVISOR_LAMBDA {
              const V weight = simd::splat<N>(w[b]);
              simd::unroll<T>([&](auto v) ADVISOR_LAMBDA { sums[b * T + v] += weight * loaded[v]; });
            });
          }
        }
      }
      if (t.last && t.y) {
        const int64_t offset = channel * t.y_channel;
        simd::unroll<B>([&](auto b) ADVISOR_LAMBDA {
          simd::unroll<T>([&](auto v) ADVISOR_LAMBDA {
            const int64_t at = offset + b * t.y_channel + v * N;
            finish<N>(t, t.y + at, t.residual ? t.residual + at : nullptr, sums[b * T + v], t.valid - v * N);
          });
        });
      } else {
        simd::unroll<B * T>([&](auto q) ADVISOR_LAMBDA { simd::store<N>(acc + N * q, sums[q]); });
      }
    }
  }
}

// One output, R rows x C vectors, K vertical taps, S rows apart: each loaded vector feeds every tap that reads it.
template <int N, int R, int C, int K, int S>
static void rows_tile(const Tile& t) {
  using V = simd::vec<N>;
  const int64_t entry = static_cast<int64_t>(K) * t.taps_w;
  float* acc = t.acc;
  for (int32_t channel = t.first_block; channel < t.last_block; ++channel, acc += R * C * N) {
    const int64_t start = t.indptr[channel], count = t.indptr[channel + 1] - start;
    const int64_t from = start + static_cast<int64_t>((count * t.from) >> 32);
    const int64_t to = start + static_cast<int64_t>((count * t.to) >> 32);
    V sums[R * C];
    if (t.first) {
      const V value = simd::splat<N>(t.bias ? t.bias[channel] : 0.0f);
      simd::unroll<R * C>([&](auto q) ADVISOR_LAMBDA { sums[q] = value; });
    } else {
      simd::unroll<R * C>([&](auto q) ADVISOR_LAMBDA { sums[q] = simd::load<N>(acc + N * q); });
    }
    const float* w = t.weight + from * entry;
    for (int64_t j = from; j < to; ++j, w += entry) {
      const float* plane = t.panel + t.inputs[j] * t.input_stride;
#pragma GCC unroll 1
      for (int kx = 0; kx < t.taps_w; ++kx) {
        // Rows of the input alternate between the planes of its phases; tap `phase` starts each.
        const float* rows[S];
        simd::unroll<S>([&](auto phase) ADVISOR_LAMBDA { rows[phase] = plane + t.taps[phase * t.taps_w + kx]; });
        V weights[K];
        simd::unroll<K>([&](auto k) ADVISOR_LAMBDA { weights[k] = simd::splat<N>(w[k * t.taps_w + kx]); });
        simd::unroll<(R - 1) * S + K>([&](auto row) ADVISOR_LAMBDA {
          const float*& x = rows[row % S];
          simd::unroll<C>([&](auto c) ADVISOR_LAMBDA {
            V loaded = simd::load<N>(x + N * c);
            ADVISOR_KEEP(loaded);
            simd::unroll<K>([&](auto k) ADVISOR_LAMBDA {
              constexpr int from_top = decltype(row)::value - decltype(k)::value;
              if constexpr (from_top >= 0 && from_top % S == 0 && from_top / S < R)
                sums[from_top / S * C + c] += weights[k] * loaded;
            });
          });
          x += t.pitch;
        });
      }
    }
    if (t.last && t.y) {
      simd::unroll<R>([&](auto r) ADVISOR_LAMBDA {
        simd::unroll<C>([&](auto c) ADVISOR_LAMBDA {
          const int64_t at = channel * t.y_channel + r * t.y_row + c * N;
          finish<N>(t, t.y + at, t.residual ? t.residual + at : nullptr, sums[r * C + c], t.valid - c * N);
        });
      });
    } else {
      simd::unroll<R * C>([&](auto q) ADVISOR_LAMBDA { simd::store<N>(acc + N * q, sums[q]); });
    }
  }
}

using Run = void (*)(const Tile&);

// The tile's function, or null where no such tile was compiled.
template <int N>
static Run find_list(int outputs, int vectors, bool one) {
#define ADVISOR_TILE(b, v) \
  case b * 16 + v:         \
    return one ? &list_tile<N, b, v, true> : &list_tile<N, b, v, false>;
  switch (outputs * 16 + vectors) {
    ADVISOR_TILE(1, 1) ADVISOR_TILE(1, 2) ADVISOR_TILE(1, 3) ADVISOR_TILE(1, 4) ADVISOR_TILE(1, 5) ADVISOR_TILE(1, 6)
    ADVISOR_TILE(1, 7) ADVISOR_TILE(1, 8) ADVISOR_TILE(1, 9) ADVISOR_TILE(1, 10) ADVISOR_TILE(1, 11)
    ADVISOR_TILE(1, 12) ADVISOR_TILE(4, 1) ADVISOR_TILE(4, 2) ADVISOR_TILE(4, 3) ADVISOR_TILE(4, 4) ADVISOR_TILE(4, 5)
    ADVISOR_TILE(4, 6) ADVISOR_TILE(8, 1) ADVISOR_TILE(8, 2) ADVISOR_TILE(8, 3)
    default: return nullptr;
  }
#undef ADVISOR_TILE
}

// Rows of one output. Kernels that are rare have few tiles.
template <int N>
static Run find_rows(int rows, int vectors, int taps_h, int stride_h) {
#define ADVISOR_TILE(k, s, r, v)                \
  case ((k * 4 + s) * 16 + r) * 16 + v: \
    return &rows_tile<N, r, v, k, s>;
  if (rows > 15 || vectors > 15 || stride_h > 3) return nullptr;
  switch (((taps_h * 4 + stride_h) * 16 + rows) * 16 + vectors) {
    ADVISOR_TILE(3, 1, 1, 1) ADVISOR_TILE(3, 1, 2, 1) ADVISOR_TILE(3, 1, 4, 1) ADVISOR_TILE(3, 1, 7, 1)
    ADVISOR_TILE(3, 1, 8, 1) ADVISOR_TILE(3, 1, 14, 1) ADVISOR_TILE(3, 1, 4, 2) ADVISOR_TILE(3, 1, 7, 2)
    ADVISOR_TILE(3, 1, 8, 2) ADVISOR_TILE(3, 1, 4, 4) ADVISOR_TILE(3, 1, 6, 4)
    ADVISOR_TILE(3, 1, 6, 3) ADVISOR_TILE(3, 1, 5, 5)
    ADVISOR_TILE(3, 2, 1, 1) ADVISOR_TILE(3, 2, 4, 1) ADVISOR_TILE(3, 2, 7, 1) ADVISOR_TILE(3, 2, 14, 1)
    ADVISOR_TILE(3, 2, 4, 2) ADVISOR_TILE(3, 2, 7, 2)
    ADVISOR_TILE(5, 1, 1, 1) ADVISOR_TILE(5, 1, 4, 1) ADVISOR_TILE(5, 1, 8, 1) ADVISOR_TILE(5, 1, 4, 4)
    ADVISOR_TILE(7, 1, 1, 1) ADVISOR_TILE(7, 1, 4, 1) ADVISOR_TILE(7, 1, 8, 1) ADVISOR_TILE(7, 1, 8, 2) ADVISOR_TILE(7, 1, 6, 1)
    ADVISOR_TILE(7, 1, 6, 3)
    default: return nullptr;
  }
#undef ADVISOR_TILE
}

}  // namespace ADVISOR_ISA
}  // namespace advisor
