// Threads of our own, for processes where torch's cannot be reached (macOS, Windows, other OpenMP runtimes).
#pragma once

namespace advisor {

// Runs task(data) on `threads` threads, the caller's among them; returns when all have finished.
void run_on_pool(void (*task)(void*), void* data, int threads);

}  // namespace advisor
