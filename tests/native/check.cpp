// The kernels against plain loops: random shapes, orders, tilings and threads, in buffers that end exactly where their
// data ends, so that the address sanitizer sees every step beyond. `check SECONDS SEED`; status 1 on a difference.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "job.h"
#include "support.h"
#include "transposed.h"

using namespace advisor;

namespace {

using Forward = int32_t (*)(const Job&);
using GradWeight = int32_t (*)(const Job&, float*);
struct Set {
  const char* name;
  int lanes;
  Forward forward;
  GradWeight grad_weight;
  int32_t (*pool)(const PoolJob&);
};

std::vector<Set> sets() {
  std::vector<Set> found;
#if !defined(ADVISOR_POOL_ONLY)
  found.push_back({"portable", 4, portable::forward, portable::grad_weight, portable::pool});
#if defined(ADVISOR_X86)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    found.push_back({"avx2", 8, avx2::forward, avx2::grad_weight, avx2::pool});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    found.push_back({"avx512vl", 8, avx512vl::forward, avx512vl::grad_weight, avx512vl::pool});
    found.push_back({"avx512", 16, avx512::forward, avx512::grad_weight, avx512::pool});
  }
#endif
#endif
  return found;
}

std::mt19937_64 random_bits;
int64_t between(int64_t low, int64_t high) { return std::uniform_int_distribution<int64_t>(low, high)(random_bits); }
bool one_in(int64_t n) { return between(1, n) == 1; }
template <class T>
T one_of(std::initializer_list<T> values) {
  return values.begin()[between(0, static_cast<int64_t>(values.size()) - 1)];
}

std::map<std::string, int64_t> ran;  // computations by instruction set, direction, kernel and layout

// N C H W floats in any order of axes, with or without gaps, in a block of memory without a byte to spare.
struct Tensor {
  int64_t shape[4], stride[4], floats = 0;
  std::unique_ptr<float, decltype(&std::free)> data{nullptr, std::free};

  Tensor(int64_t n, int64_t c, int64_t h, int64_t w, int order, bool gaps, bool expanded) : shape{n, c, h, w} {
    static const int orders[4][4] = {{3, 2, 1, 0}, {1, 3, 2, 0}, {2, 3, 1, 0}, {0, 1, 2, 3}};  // innermost first
    int64_t step = 1;
    for (const int axis : orders[order]) {
      if (gaps && one_in(2)) step += between(1, 5);
      stride[axis] = step;
      step *= shape[axis] > 0 ? shape[axis] : 1;
    }
    if (expanded) stride[between(0, 3)] = 0;
    bool empty = false;
    floats = 1;
    for (int axis = 0; axis < 4; ++axis) {
      empty |= shape[axis] == 0;
      floats += (shape[axis] - 1) * stride[axis];
    }
    if (empty) floats = 0;
    data.reset(static_cast<float*>(std::malloc(floats ? sizeof(float) * floats : 1)));
  }
  float& at(int64_t n, int64_t c, int64_t h, int64_t w) const {
    return data.get()[n * stride[0] + c * stride[1] + h * stride[2] + w * stride[3]];
  }
  void fill() const {
    for (int64_t i = 0; i < floats; ++i) data.get()[i] = std::normal_distribution<float>()(random_bits);
  }
  void fill(float value) const {
    for (int64_t i = 0; i < floats; ++i) data.get()[i] = value;
  }
};

template <class T>
std::unique_ptr<T, decltype(&std::free)> exactly(const std::vector<T>& values) {
  auto* memory = static_cast<T*>(std::malloc(values.empty() ? 1 : sizeof(T) * values.size()));
  if (!values.empty()) std::memcpy(memory, values.data(), sizeof(T) * values.size());
  return {memory, std::free};
}

int failures = 0;

void say(const Set& set, const char* what, const Job& j, const char* problem) {
  ++failures;
  std::printf(
      "FAILED %s %s: %s\n  images %ld channels %ld -> %ld map %ldx%ld -> %ldx%ld taps %dx%d stride %dx%d first %dx%d step "
      "%dx%d block %d blocks %d activation %d threads %d x strides %ld %ld %ld %ld y strides %ld %ld %ld %ld\n  lanes %d "
      "layout %d kernel %d outputs %d vectors %d rows %d chunks %d splits %d swapped %d\n",
      set.name, what, problem, long(j.images), long(j.in_channels), long(j.out_channels), long(j.in_h), long(j.in_w),
      long(j.out_h), long(j.out_w), j.taps_h, j.taps_w, j.stride_h, j.stride_w, j.first_h, j.first_w, j.step_h, j.step_w,
      j.block, j.blocks, j.activation, j.threads, long(j.x_image), long(j.x_channel), long(j.x_row), long(j.x_col),
      long(j.y_image), long(j.y_channel), long(j.y_row), long(j.y_col), j.lanes, j.layout, j.kernel, j.outputs, j.vectors,
      j.rows, j.chunks, j.splits, j.swapped);
  std::fflush(stdout);
}

// Equal up to rounding: `size` is the sum of the magnitudes that were added up. NaN equals NaN alone.
bool close(double expected, float found, double size) {
  if (std::isnan(expected) || std::isnan(found)) return std::isnan(expected) == std::isnan(found);
  if (std::isinf(expected) || std::isinf(found)) return expected == found;
  return std::abs(expected - found) <= 1e-5 * size + 1e-6;
}

double activated(double v, int32_t activation) {
  switch (activation) {
    case kRelu: return v < 0 ? 0 : v;
    case kRelu6: return v < 0 ? 0 : v > 6 ? 6 : v;
    case kSilu: return std::isinf(v) ? (v > 0 ? v : NAN) : v / (1 + std::exp(-v));
    default: return v;
  }
}

struct Case {
  Job job{};
  std::vector<int32_t> indptr, inputs;
  std::vector<float> weight, bias;
  std::unique_ptr<int32_t, decltype(&std::free)> indptr_memory{nullptr, std::free}, inputs_memory{nullptr, std::free};
  std::unique_ptr<float, decltype(&std::free)> weight_memory{nullptr, std::free}, bias_memory{nullptr, std::free};
  std::unique_ptr<Tensor> x, y, residual;

  Case() {
    Job& j = job;
    j.images = one_of<int64_t>({0, 1, 1, 1, 2, 3, 5});
    j.in_channels = between(1, one_of<int64_t>({1, 3, 8, 24}));
    const bool one_tap = one_in(3);
    j.taps_h = one_tap ? 1 : static_cast<int32_t>(one_of({1, 2, 3, 3, 3, 5, 7}));
    j.taps_w = one_tap ? 1 : static_cast<int32_t>(one_of({1, 2, 3, 3, 3, 5, 7}));
    j.stride_h = static_cast<int32_t>(one_of({1, 1, 1, 2, 3}));
    j.stride_w = one_in(4) ? static_cast<int32_t>(between(1, 4)) : j.stride_h;
    j.step_h = static_cast<int32_t>(one_of({1, 1, 1, 2, 3}));
    j.step_w = one_in(4) ? static_cast<int32_t>(between(1, 3)) : j.step_h;
    const bool plain = one_tap && one_in(2);  // what may be read where it lies
    if (plain) j.stride_h = j.stride_w = 1;
    const int64_t pad_h = plain || one_in(3) ? 0 : between(0, j.taps_h), pad_w = plain || one_in(3) ? 0 : between(0, j.taps_w);
    j.first_h = static_cast<int32_t>(-pad_h);
    j.first_w = static_cast<int32_t>(-pad_w);
    const int64_t most = plain ? one_of<int64_t>({9, 20, 40}) : one_of<int64_t>({1, 4, 9, 20, 40});
    const int64_t least_h = int64_t{j.step_h} * (j.taps_h - 1) - 2 * pad_h, least_w = int64_t{j.step_w} * (j.taps_w - 1) - 2 * pad_w;
    // One less than the kernel reaches is a map without positions.
    j.in_h = std::max<int64_t>(1, least_h) + (one_in(9) ? 0 : between(1, most));
    j.in_w = std::max<int64_t>(1, least_w) + (one_in(9) ? 0 : between(1, most));
    j.out_h = (j.in_h - least_h - 1) / j.stride_h + 1;
    j.out_w = (j.in_w - least_w - 1) / j.stride_w + 1;
    if (j.in_h - least_h - 1 < 0) j.out_h = 0;
    if (j.in_w - least_w - 1 < 0) j.out_w = 0;
    j.block = one_of({1, 1, 1, 2, 3, 4, 4, 8, 16});
    j.blocks = static_cast<int32_t>(one_in(20) ? 0 : between(1, std::max(1, 20 / j.block)));
    j.out_channels = int64_t{j.block} * j.blocks;
    const int64_t keep = between(0, 8);
    indptr.push_back(0);
    for (int32_t b = 0; b < j.blocks; ++b) {
      for (int32_t c = 0; c < j.in_channels; ++c)
        if (between(0, 7) < keep) inputs.push_back(c);
      indptr.push_back(static_cast<int32_t>(inputs.size()));
    }
    weight.resize(inputs.size() * j.taps_h * j.taps_w * j.block);
    for (float& w : weight) w = std::normal_distribution<float>()(random_bits);
    bias.resize(j.out_channels);
    for (float& b : bias) b = std::normal_distribution<float>()(random_bits);
    indptr_memory = exactly(indptr);
    inputs_memory = exactly(inputs);
    weight_memory = exactly(weight);
    bias_memory = exactly(bias);
    x = std::make_unique<Tensor>(j.images, j.in_channels, j.in_h, j.in_w, 
                                 plain ? 0 : one_of({0, 0, 1, 1, 2, 3}), !plain && one_in(3), one_in(9));
    const int order = one_of({0, 0, 1, 1, 2, 3});
    y = std::make_unique<Tensor>(j.images, j.out_channels, j.out_h, j.out_w, order, one_in(4), false);
    residual = std::make_unique<Tensor>(j.images, j.out_channels, j.out_h, j.out_w, order, false, false);
    std::memcpy(residual->stride, y->stride, sizeof y->stride);
    residual->floats = y->floats;
    residual->data.reset(static_cast<float*>(std::malloc(y->floats ? sizeof(float) * y->floats : 1)));
    x->fill();
    residual->fill();
    for (int wild = one_in(5) ? 3 : 0; wild > 0 && x->floats > 0; --wild)
      x->data.get()[between(0, x->floats - 1)] = one_of({NAN, INFINITY, -INFINITY, -0.0f});
    j.kept = static_cast<int64_t>(inputs.size());
    j.activation = static_cast<int32_t>(between(0, 3));
    j.x = x->data.get();
    j.y = y->data.get();
    j.weight = weight_memory.get();
    j.bias = one_in(3) ? nullptr : bias_memory.get();
    j.residual = one_in(3) ? residual->data.get() : nullptr;
    j.indptr = indptr_memory.get();
    j.inputs = inputs_memory.get();
    std::tie(j.x_image, j.x_channel, j.x_row, j.x_col) = std::tie(x->stride[0], x->stride[1], x->stride[2], x->stride[3]);
    std::tie(j.y_image, j.y_channel, j.y_row, j.y_col) = std::tie(y->stride[0], y->stride[1], y->stride[2], y->stride[3]);
  }

  // Calls f(row of the lists, output channel, input channel, tap, n, out row, out column, in row, in column).
  template <class F>
  void each(F f) const {
    const Job& j = job;
    for (int32_t b = 0; b < j.blocks; ++b)
      for (int32_t r = indptr[b]; r < indptr[b + 1]; ++r)
        for (int32_t o = 0; o < j.block; ++o)
          for (int64_t n = 0; n < j.images; ++n)
            for (int64_t p = 0; p < j.out_h; ++p)
              for (int64_t q = 0; q < j.out_w; ++q)
                for (int32_t ky = 0; ky < j.taps_h; ++ky)
                  for (int32_t kx = 0; kx < j.taps_w; ++kx) {
                    const int64_t h = p * j.stride_h + j.first_h + int64_t{ky} * j.step_h;
                    const int64_t w = q * j.stride_w + j.first_w + int64_t{kx} * j.step_w;
                    if (h >= 0 && h < j.in_h && w >= 0 && w < j.in_w)
                      f((size_t(r) * j.taps_h * j.taps_w + size_t(ky) * j.taps_w + kx) * j.block + o, int64_t{b} * j.block + o,
                        inputs[r], n, p, q, h, w);
                  }
  }
};

// Any tiling; the kernels refuse those that are none.
void tile(Job& j, const Set& set) {
  j.lanes = set.lanes;
  j.threads = static_cast<int32_t>(between(1, 3));
  j.splits = one_of({1, 1, 2, 3, 6});
  j.chunks = one_of({1, 1, 2, 3, 5, 16});
  j.swapped = one_in(4);
  if (j.block == 1 && one_in(2)) {
    j.kernel = kRows;
    j.layout = one_of({kShifted, kHalo});
    const int64_t high = j.swapped ? j.out_w : j.out_h;
    do j.rows = one_of({1, 1, 2, 4, 4, 6, 7, 8, 14});
    while (j.rows > 1 && j.rows > high);
    j.vectors = one_of({1, 1, 1, 2, 4});
    j.outputs = 1;
  } else {
    j.kernel = kList;
    j.layout = static_cast<int32_t>(between(0, 4));
    j.outputs = one_of({1, 4, 8});
    j.vectors = static_cast<int32_t>(j.outputs == 1 ? between(1, 12) : between(1, 6));
    j.rows = 1;
  }
}

void count(const Set& set, const char* what, const Job& j) {
  static const char* const layouts[] = {"in place", "columns", "shifted", "halo", "few"};
  ++ran[std::string(set.name) + " " + what + (j.kernel == kRows ? " rows " : " list ") + layouts[j.layout]];
  if (j.swapped) ++ran[std::string(set.name) + " " + what + " swapped"];
}

using Sums = std::vector<double>;

void compare(const Set& set, const char* what, const Job& j, const Tensor& found, const Sums& sums, const Sums& sizes) {
  size_t i = 0;
  for (int64_t n = 0; n < found.shape[0]; ++n)
    for (int64_t c = 0; c < found.shape[1]; ++c)
      for (int64_t h = 0; h < found.shape[2]; ++h)
        for (int64_t w = 0; w < found.shape[3]; ++w, ++i)
          if (!close(sums[i], found.at(n, c, h, w), sizes[i])) {
            char words[200];
            std::snprintf(words, sizeof words, "at %ld %ld %ld %ld: %.9g instead of %.9g", long(n), long(c), long(h), long(w),
                          found.at(n, c, h, w), sums[i]);
            return say(set, what, j, words);
          }
}

size_t flat(const Tensor& t, int64_t n, int64_t c, int64_t h, int64_t w) {
  return static_cast<size_t>(((n * t.shape[1] + c) * t.shape[2] + h) * t.shape[3] + w);
}

constexpr float kUntouched = 1.25e30f;

// What lies between the elements of a tensor belongs to somebody else.
void gaps_kept(const Set& set, const char* what, const Job& j, const Tensor& t) {
  std::vector<bool> own(static_cast<size_t>(t.floats));
  for (int64_t n = 0; n < t.shape[0]; ++n)
    for (int64_t c = 0; c < t.shape[1]; ++c)
      for (int64_t h = 0; h < t.shape[2]; ++h)
        for (int64_t w = 0; w < t.shape[3]; ++w)
          own[static_cast<size_t>(n * t.stride[0] + c * t.stride[1] + h * t.stride[2] + w * t.stride[3])] = true;
  for (size_t i = 0; i < own.size(); ++i)
    if (!own[i] && t.data.get()[i] != kUntouched) return say(set, what, j, "wrote between the elements of its output");
}

// Runs twice: what comes out must be right, and the same bit for bit.
template <class Call>
bool twice(const Set& set, const char* what, const Job& j, const Tensor& out, Call call) {
  out.fill(kUntouched);
  const int32_t status = call();
  if (status == kBadTuning) return false;
  if (status != kOk) {
    say(set, what, j, "refused");
    return false;
  }
  count(set, what, j);
  gaps_kept(set, what, j, out);
  const std::vector<float> first(out.data.get(), out.data.get() + out.floats);
  out.fill(kUntouched);
  call();
  if (!first.empty() && std::memcmp(first.data(), out.data.get(), sizeof(float) * first.size()) != 0)
    say(set, what, j, "another result at the second run");
  return true;
}

void check_forward(Case& c, const std::vector<Set>& all) {
  Job& j = c.job;
  const size_t outputs = static_cast<size_t>(j.images * j.out_channels * j.out_h * j.out_w);
  Sums sums(outputs, 0.0), sizes(outputs, 0.0);
  c.each([&](size_t at, int64_t o, int64_t i, int64_t n, int64_t p, int64_t q, int64_t h, int64_t w) {
    const double product = double{c.weight[at]} * double{c.x->at(n, i, h, w)};
    sums[flat(*c.y, n, o, p, q)] += product;
    sizes[flat(*c.y, n, o, p, q)] += std::abs(product);
  });
  size_t k = 0;
  for (int64_t n = 0; n < j.images; ++n)
    for (int64_t o = 0; o < j.out_channels; ++o)
      for (int64_t p = 0; p < j.out_h; ++p)
        for (int64_t q = 0; q < j.out_w; ++q, ++k) {
          const double more = (j.bias ? c.bias[static_cast<size_t>(o)] : 0.0) +
                              (j.residual ? double{c.residual->at(n, o, p, q)} : 0.0);
          sizes[k] += std::abs(more);
          sums[k] = activated(sums[k] + more, j.activation);
        }
  for (const Set& set : all)
    for (int times = 0; times < 6; ++times) {
      tile(j, set);
      if (twice(set, "forward", j, *c.y, [&] { return set.forward(j); })) compare(set, "forward", j, *c.y, sums, sizes);
    }
}

void check_gradients(Case& c, const std::vector<Set>& all) {
  Job& j = c.job;
  c.y->fill();
  const Tensor grad(j.images, j.out_channels, j.out_h, j.out_w, one_of({0, 1, 2}), one_in(4), false);
  grad.fill();
  j.y = grad.data.get();
  std::tie(j.y_image, j.y_channel, j.y_row, j.y_col) = std::tie(grad.stride[0], grad.stride[1], grad.stride[2], grad.stride[3]);
  const size_t inputs = static_cast<size_t>(j.images * j.in_channels * j.in_h * j.in_w);
  Sums to_x(inputs, 0.0), x_sizes(inputs, 0.0), to_w(c.weight.size(), 0.0), w_sizes(c.weight.size(), 0.0);
  c.each([&](size_t at, int64_t o, int64_t i, int64_t n, int64_t p, int64_t q, int64_t h, int64_t w) {
    const double g = double{grad.at(n, o, p, q)}, a = g * double{c.weight[at]}, b = g * double{c.x->at(n, i, h, w)};
    to_x[flat(*c.x, n, i, h, w)] += a;
    x_sizes[flat(*c.x, n, i, h, w)] += std::abs(a);
    to_w[at] += b;
    w_sizes[at] += std::abs(b);
  });
  const Tensor found(1, 1, 1, static_cast<int64_t>(c.weight.size()), 0, false, false);
  for (const Set& set : all)
    for (int times = 0; times < 3; ++times) {
      tile(j, set);
      j.kernel = kList;
      j.layout = one_of({kColumns, kShifted});
      j.vectors = static_cast<int32_t>(one_of({1, 2, 3, 7, 64}));
      j.swapped = 0;
      if (twice(set, "grad_weight", j, found, [&] { return set.grad_weight(j, found.data.get()); }))
        compare(set, "grad_weight", j, found, to_w, w_sizes);
    }
  if (grad.floats == 0) return;  // the caller writes zeros itself
  const Tensor back(j.images, j.in_channels, j.in_h, j.in_w, one_of({0, 1, 2, 3}), one_in(4), false);
  j.x = back.data.get();
  std::tie(j.x_image, j.x_channel, j.x_row, j.x_col) = std::tie(back.stride[0], back.stride[1], back.stride[2], back.stride[3]);
  const int32_t block = j.block;
  for (const Set& set : all)
    for (int times = 0; times < 3; ++times) {
      j.block = 1;  // the reversed connections are lists of one output each
      tile(j, set);
      j.block = block;
      if (j.kernel == kList) j.outputs = 1;
      if (twice(set, "grad_input", j, back, [&] { return grad_input(j, set.forward); }))
        compare(set, "grad_input", j, back, to_x, x_sizes);
    }
}

// Several callers at once, each of them with threads, and forked children of a process that has had some.
bool check_pool() {
  const auto work = [](void* data, int64_t i) { static_cast<int64_t*>(data)[i] += i + 1; };
  const auto once = [work](int32_t threads) {
    std::vector<int64_t> got(static_cast<size_t>(between(0, 50)), 0);
    parallel(static_cast<int64_t>(got.size()), threads, work, got.data());
    for (size_t i = 0; i < got.size(); ++i)
      if (got[i] != static_cast<int64_t>(i) + 1) return false;
    return true;
  };
  for (int round = 0; round < 200; ++round)
    if (!once(static_cast<int32_t>(between(1, 4)))) return std::puts("FAILED pool: an item was not run once"), false;
  std::vector<std::thread> callers;
  std::vector<char> good(4, 0);
  for (size_t c = 0; c < good.size(); ++c)
    callers.emplace_back([&good, c, work] {
      good[c] = 1;
      for (int round = 0; round < 300; ++round) {
        std::vector<int64_t> got(17, 0);
        parallel(17, static_cast<int32_t>(1 + c), work, got.data());
        for (size_t i = 0; i < got.size(); ++i) good[c] &= got[i] == static_cast<int64_t>(i) + 1;
      }
    });
  for (auto& caller : callers) caller.join();
  for (const char g : good)
    if (!g) return std::puts("FAILED pool: callers got into each other's way"), false;
#if !defined(__SANITIZE_THREAD__)
  for (int child = 0; child < 20; ++child) {
    const pid_t id = fork();
    if (id == 0) {
      alarm(20);
      _exit(once(3) && once(2) ? 0 : 3);
    }
    int status = 0;
    waitpid(id, &status, 0);
    if (status != 0) return std::printf("FAILED pool: a forked child ended with status %d\n", status), false;
  }
#endif
  return true;
}

}  // namespace

// Windows over planes whose arrays end where they end, against plain loops.
void check_pooling(const std::vector<Set>& all) {
  PoolJob j{};
  j.planes = between(1, 11);
  j.in_h = between(1, 20);
  j.in_w = between(1, 45);
  j.kernel_h = static_cast<int32_t>(between(1, std::min<int64_t>(5, j.in_h)));
  j.kernel_w = static_cast<int32_t>(between(1, std::min<int64_t>(5, j.in_w)));
  j.stride_h = static_cast<int32_t>(between(1, 4));
  j.stride_w = static_cast<int32_t>(between(1, 4));
  j.pad_h = static_cast<int32_t>(between(0, j.kernel_h / 2));
  j.pad_w = static_cast<int32_t>(between(0, j.kernel_w / 2));
  j.average = one_in(2);
  j.count_padding = one_in(2);
  j.divisor = one_in(4) ? 3 : 0;
  j.threads = static_cast<int32_t>(between(1, 3));
  j.out_h = (j.in_h + 2 * j.pad_h - j.kernel_h) / j.stride_h + 1;
  j.out_w = (j.in_w + 2 * j.pad_w - j.kernel_w) / j.stride_w + 1;
  const size_t inputs = static_cast<size_t>(j.planes * j.in_h * j.in_w), outputs = static_cast<size_t>(j.planes * j.out_h * j.out_w);
  std::unique_ptr<float[]> x(new float[inputs]), y(new float[outputs]);
  for (size_t i = 0; i < inputs; ++i) x[i] = static_cast<float>(between(-1000, 1000)) / 100.0f;
  j.x = x.get();
  j.y = y.get();
  for (const Set& set : all) {
    std::fill(y.get(), y.get() + outputs, std::nanf(""));
    if (set.pool(j)) std::printf("%s pooling: no memory\n", set.name), ++failures;
    ++ran[std::string(set.name) + " pooling"];
    for (int64_t p = 0; p < j.planes; ++p)
      for (int64_t r = 0; r < j.out_h; ++r)
        for (int64_t c = 0; c < j.out_w; ++c) {
          double sum = 0, most = -1e30;
          int64_t met = 0;
          for (int32_t ky = 0; ky < j.kernel_h; ++ky)
            for (int32_t kx = 0; kx < j.kernel_w; ++kx) {
              const int64_t h = r * j.stride_h - j.pad_h + ky, w = c * j.stride_w - j.pad_w + kx;
              if (h < 0 || h >= j.in_h || w < 0 || w >= j.in_w) continue;
              const double v = double{x[static_cast<size_t>((p * j.in_h + h) * j.in_w + w)]};
              sum += v;
              most = std::max(most, v);
              ++met;
            }
          const int64_t whole = int64_t{j.kernel_h} * j.kernel_w;
          const double wanted = !j.average ? most : sum / double(j.divisor ? j.divisor : j.count_padding ? whole : met);
          const double got = double{y[static_cast<size_t>((p * j.out_h + r) * j.out_w + c)]};
          if (!(std::abs(got - wanted) <= 1e-4)) {
            std::printf("%s pooling: %g, expected %g\n", set.name, got, wanted);
            if (++failures > 5) return;
          }
        }
  }
}

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10;
  const auto seed = static_cast<uint64_t>(argc > 2 ? std::atoll(argv[2]) : 1);
  random_bits.seed(seed);
  if (!check_pool()) return 1;
  const std::vector<Set> all = sets();
  const auto start = std::chrono::steady_clock::now();
  int64_t cases = 0;
  for (; !all.empty(); ++cases) {
    if (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() > seconds || failures > 5) break;
    random_bits.seed(seed * 1000003 + static_cast<uint64_t>(cases));
    Case c;
    check_pooling(all);
    check_forward(c, all);
    check_gradients(c, all);
  }
  for (const auto& [name, times] : ran) std::printf("%s: %ld\n", name.c_str(), long(times));
  std::printf("cases: %ld\nfailures: %d\n", long(cases), failures);
  return failures != 0;
}
