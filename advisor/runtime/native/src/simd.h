// Vectors of N floats through the compiler's own vector types: the same source for SSE, AVX2, AVX-512 and NEON.
// Included once per instruction set, inside that set's namespace.
#pragma once
#include <cstdint>
#include "job.h"
#include <cstring>
#include <type_traits>
#include <utility>

#define ADVISOR_INLINE inline __attribute__((always_inline))
#define ADVISOR_LAMBDA __attribute__((always_inline))

// A loaded vector stays in its register. Without this GCC reads memory again for every multiply-add that uses it.
#if defined(__AVX512F__)
#define ADVISOR_KEEP(x) asm volatile("" : "+v"(x))
#elif defined(__x86_64__) || defined(__i386__)
#define ADVISOR_KEEP(x) asm volatile("" : "+x"(x))
#elif defined(__aarch64__)
#define ADVISOR_KEEP(x) asm volatile("" : "+w"(x))
#else
#define ADVISOR_KEEP(x) (void)(x)
#endif

// Lanes of two vectors of n floats by their numbers, which are constants.
#if defined(__clang__)
#define ADVISOR_SHUFFLE(n, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define ADVISOR_SHUFFLE(n, a, b, ...) __builtin_shuffle(a, b, typename simd::Vec<n>::ints{__VA_ARGS__})
#endif

namespace advisor {
namespace ADVISOR_ISA {
namespace simd {

template <int N>
struct Vec {
  typedef float type __attribute__((vector_size(4 * N)));
  typedef float loose __attribute__((vector_size(4 * N), aligned(4), may_alias));
  typedef int32_t ints __attribute__((vector_size(4 * N)));
};
template <int N>
using vec = typename Vec<N>::type;

template <int N>
static ADVISOR_INLINE vec<N> load(const float* p) {
  return *reinterpret_cast<const typename Vec<N>::loose*>(p);
}
template <int N>
static ADVISOR_INLINE void store(float* p, vec<N> v) {
  *reinterpret_cast<typename Vec<N>::loose*>(p) = v;
}
// x - 0 is x for every x, the negative zero and NaN too, so that this compiles to one broadcast.
template <int N>
static ADVISOR_INLINE vec<N> splat(float f) {
  return f - vec<N>{};
}
// f(0) ... f(N - 1) with compile-time indices. Register tiles are arrays that only full unrolling keeps in registers.
template <class F, int... I>
static ADVISOR_INLINE void unroll_(F&& f, std::integer_sequence<int, I...>) {
  (f(std::integral_constant<int, I>{}), ...);
}
template <int N, class F>
static ADVISOR_INLINE void unroll(F&& f) {
  unroll_(f, std::make_integer_sequence<int, N>{});
}

template <int N>
static ADVISOR_INLINE float sum(vec<N> v) {
  if constexpr (N == 1) return v[0];
  else {
    typedef typename Vec<N / 2>::type half;
    half low, high;
    std::memcpy(&low, &v, sizeof low);
    std::memcpy(&high, reinterpret_cast<const char*>(&v) + sizeof low, sizeof high);
    return sum<N / 2>(low + high);
  }
}

// Lanes of a and b whose index has bit W clear, plus those where it is set: result lanes with the bit clear come from
// a, the others from b.
template <int N, int W, int... I>
static ADVISOR_INLINE vec<N> fold_pair(vec<N> a, vec<N> b, std::integer_sequence<int, I...>) {
  return ADVISOR_SHUFFLE(N, a, b, ((I & W) ? N + (I & ~W) : I)...) +
         ADVISOR_SHUFFLE(N, a, b, ((I & W) ? N + I : (I | W))...);
}
// Lane i of the result is the sum over the lanes of v[i]: neighbours in the list fold into each other, level by level.
template <int N, int W = 1>
static ADVISOR_INLINE vec<N> sums(const vec<N>* v) {
  if constexpr (W == N) {
    return v[0];
  } else {
    vec<N> next[N / W / 2];
    unroll<N / W / 2>([&](auto i) ADVISOR_LAMBDA {
      next[i] = fold_pair<N, W>(v[2 * i], v[2 * i + 1], std::make_integer_sequence<int, N>{});
    });
    return sums<N, 2 * W>(next);
  }
}

// exp(x) for x <= 0, to about 1e-7, and 0 below -87: 2^n times a polynomial on [-ln2/2, ln2/2] (Cephes' coefficients).
template <int N>
static ADVISOR_INLINE vec<N> exp_negative(vec<N> x) {
  typedef typename Vec<N>::ints ints;
  const ints far = x < -87.0f;
  x = far ? splat<N>(-87.0f) : x;
  const vec<N> scaled = x * 1.44269504088896341f - 0.5f;
  const ints n = __builtin_convertvector(scaled, ints);  // rounds towards zero; x <= 0
  const vec<N> nf = __builtin_convertvector(n, vec<N>);
  const vec<N> r = x - nf * 0.693359375f + nf * 2.12194440e-4f;
  vec<N> p = splat<N>(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  ints bits;
  std::memcpy(&bits, &p, sizeof bits);
  bits += n << 23;
  std::memcpy(&p, &bits, sizeof p);
  return far ? splat<N>(0.0f) : p;
}

// Comparisons are written so that NaN passes through, as torch's activations let it.
template <int N>
static ADVISOR_INLINE vec<N> activate(vec<N> v, int32_t activation) {
  switch (activation) {
    case kRelu:
      return v < 0.0f ? splat<N>(0.0f) : v;
    case kRelu6:
      v = v < 0.0f ? splat<N>(0.0f) : v;
      return v > 6.0f ? splat<N>(6.0f) : v;
    case kSilu: {
      // x * sigmoid(x), with e^-|x| so that nothing overflows.
      const vec<N> e = exp_negative<N>(v < 0.0f ? v : -v);
      const vec<N> s = 1.0f / (1.0f + e);
      const vec<N> out = v * (v < 0.0f ? e * s : s);
      return v != v ? v : out;
    }
    default:
      return v;
  }
}

// Writes the first n lanes.
template <int N>
static ADVISOR_INLINE void store_some(float* p, vec<N> v, int n) {
  if (n >= N) {
    store<N>(p, v);
  } else if (n > 0) {
    float lanes[N];
    store<N>(lanes, v);
    std::memcpy(p, lanes, sizeof(float) * n);
  }
}
template <int N>
static ADVISOR_INLINE vec<N> load_some(const float* p, int n) {
  if (n >= N) return load<N>(p);
  float lanes[N] = {};
  if (n > 0) std::memcpy(lanes, p, sizeof(float) * n);
  return load<N>(lanes);
}

}  // namespace simd
}  // namespace ADVISOR_ISA
}  // namespace advisor
