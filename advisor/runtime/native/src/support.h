// What the kernels need from the rest of the process: memory that a thread keeps, and work shared between threads.
// Implemented once, for the plain instruction set: code compiled for a newer one must not leak into shared templates.
#pragma once
#include <cstddef>
#include <cstdint>

namespace advisor {

enum Slot : int { kPanelSlot = 0, kAccSlot = 1, kCopySlot = 2, kTapSlot = 3, kListSlot = 4, kGradSlot = 5, kSlots = 6 };

// This thread's buffer, 64-byte aligned, at least `bytes` long and kept for the next call; null without memory.
void* scratch(Slot slot, size_t bytes);

// Calls work(context, i) once for every i in [0, items), on up to `threads` threads; returns when all are done.
void parallel(int64_t items, int32_t threads, void (*work)(void*, int64_t), void* context);

}  // namespace advisor
