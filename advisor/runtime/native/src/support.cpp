#include "support.h"

#include <atomic>
#include <cstdlib>
#include <cstring>

#if !defined(_WIN32)
#include <dlfcn.h>
#endif

#include "pool.h"

namespace advisor {

namespace {

struct Buffers {
  void* memory[kSlots] = {};
  size_t bytes[kSlots] = {};
  ~Buffers() {
    for (void* p : memory) std::free(p);
  }
};

struct Shared {
  std::atomic<int64_t> next;
  int64_t items;
  void (*work)(void*, int64_t);
  void* context;
};

// Whoever is free takes the next item. Items never add into each other's results, so the order cannot show in them.
void take(void* data) {
  auto* shared = static_cast<Shared*>(data);
  for (int64_t i; (i = shared->next.fetch_add(1, std::memory_order_relaxed)) < shared->items;)
    shared->work(shared->context, i);
}

// torch's own OpenMP threads, where it brought a GNU-compatible runtime: a second pool would fight it for the cores.
using Parallel = void (*)(void (*)(void*), void*, unsigned, unsigned);
Parallel torch_threads() {
#if defined(__linux__)
  static const Parallel found = reinterpret_cast<Parallel>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return found;
#else
  return nullptr;
#endif
}

}  // namespace

void* scratch(Slot slot, size_t bytes) {
  static thread_local Buffers own;
#if defined(__SANITIZE_ADDRESS__)
  // For the sanitizer's tests no byte more than was asked for, and NaN in all of them.
  constexpr size_t unit = 64;
  const bool other = bytes > 0;
#else
  constexpr size_t unit = 4096;
  const bool other = bytes > own.bytes[slot];
#endif
  if (other) {
    std::free(own.memory[slot]);
    const size_t rounded = (bytes + unit - 1) / unit * unit;
    own.memory[slot] = std::aligned_alloc(unit, rounded);
#if defined(__SANITIZE_ADDRESS__)
    if (own.memory[slot]) std::memset(own.memory[slot], 0xff, rounded);
#endif
    own.bytes[slot] = own.memory[slot] ? rounded : 0;
  }
  return own.memory[slot];
}

void parallel(int64_t items, int32_t threads, void (*work)(void*, int64_t), void* context) {
  Shared shared{{0}, items, work, context};
  const int64_t wanted = threads < items ? threads : items;
  if (wanted <= 1) {
    take(&shared);
  } else if (Parallel start = torch_threads()) {
    start(take, &shared, static_cast<unsigned>(wanted), 0);
  } else {
    run_on_pool(take, &shared, static_cast<int>(wanted));
  }
}

}  // namespace advisor
