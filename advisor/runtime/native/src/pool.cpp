#include "pool.h"

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>
#if !defined(_WIN32)
#include <pthread.h>
#endif

namespace advisor {

namespace {

class Pool {
 public:
  void run(void (*task)(void*), void* data, int threads) {
    std::lock_guard<std::mutex> one_caller(callers_);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (static_cast<int>(workers_.size()) < threads - 1) {
        const int index = static_cast<int>(workers_.size());
        try {
          workers_.emplace_back([this, index] { loop(index); });
          workers_.back().detach();
        } catch (const std::exception&) {
          break;  // no more threads to be had: those that are there share the work
        }
      }
      if (threads - 1 > static_cast<int>(workers_.size())) threads = static_cast<int>(workers_.size()) + 1;
      task_ = task;
      data_ = data;
      wanted_ = threads - 1;
      running_ = threads - 1;
      ++generation_;
    }
    start_.notify_all();
    task(data);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return running_ == 0; });
  }

 private:
  void loop(int index) {
    unsigned long seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      start_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      if (index >= wanted_) continue;
      void (*task)(void*) = task_;
      void* data = data_;
      lock.unlock();
      task(data);
      lock.lock();
      if (--running_ == 0) done_.notify_one();
    }
  }

  std::mutex callers_, mutex_;
  std::condition_variable start_, done_;
  std::vector<std::thread> workers_;
  void (*task_)(void*) = nullptr;
  void* data_ = nullptr;
  int wanted_ = 0, running_ = 0;
  unsigned long generation_ = 0;
};

std::atomic<Pool*> pool{nullptr};  // never destroyed: workers may outlive static destructors

Pool* fresh() {
#if !defined(_WIN32)
  // A forked child has none of its parent's threads: it starts a pool of its own.
  static const int registered = pthread_atfork(nullptr, nullptr, [] { pool = nullptr; });
  (void)registered;
#endif
  return new Pool;
}

}  // namespace

void run_on_pool(void (*task)(void*), void* data, int threads) {
  // No lock here: a child forked while another thread held it could never take it.
  Pool* mine = pool.load();
  if (!mine) {
    Pool* made = fresh();
    if (pool.compare_exchange_strong(mine, made)) mine = made;
    else delete made;  // another thread was faster; this one has no workers yet
  }
  mine->run(task, data, threads);
}

}  // namespace advisor
