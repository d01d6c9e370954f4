// Tests the header in C++17: wakers and futures made in C++, used by rawwaker.c.
#include "rawwaker.h"
#include "rawwaker.h"

#include <atomic>
#include <cstdio>
#include <memory>
#include <thread>

namespace {

struct task {
  std::atomic<int> refs{1}, wakes{0};
};

rawwaker task_clone(void *data);
void task_drop(void *data) { static_cast<task *>(data)->refs--; }
void task_wake_by_ref(void *data) { static_cast<task *>(data)->wakes++; }
void task_wake(void *data) {
  task_wake_by_ref(data);
  task_drop(data);
}
constexpr rawwaker_vtable task_vtable{task_clone, task_wake, task_wake_by_ref, task_drop};
rawwaker task_clone(void *data) {
  static_cast<task *>(data)->refs++;
  return {data, &task_vtable};
}

// A C++ future that a thread completes.
struct timer {
  rawwaker_cell cell{};
  std::atomic<bool> over{false};
  std::thread thread;
};
rawwaker_poll timer_poll(void *data, rawwaker_context *cx, void *out) {
  auto *t = static_cast<timer *>(data);
  rawwaker_cell_register(&t->cell, cx->waker);
  if (t->over) {
    *static_cast<int *>(out) = 42;
    return RAWWAKER_READY;
  }
  if (!t->thread.joinable()) t->thread = std::thread([t] {
    t->over = true;
    rawwaker_cell_wake(&t->cell);
  });
  return RAWWAKER_PENDING;
}
void timer_drop(void *data) {
  std::unique_ptr<timer> t{static_cast<timer *>(data)};
  if (t->thread.joinable()) t->thread.join();
  rawwaker_cell_drop(&t->cell);
}
constexpr rawwaker_future_vtable timer_vtable{timer_poll, timer_drop};

}  // namespace

int main() {
  task t;
  rawwaker w{&t, &task_vtable};
  rawwaker c = rawwaker_clone(&w);
  if (!rawwaker_will_wake(&w, &c) || rawwaker_is_box(&w)) return 1;
  rawwaker_wake_by_ref(&c);
  rawwaker_wake(c);
  rawwaker_drop(w);
  if (t.refs != 0 || t.wakes != 2) return 2;

  int out = 0;
  if (rawwaker_block_on({new timer, &timer_vtable}, &out) != RAWWAKER_READY || out != 42) return 3;
  if (rawwaker_live() != 0) return 4;
  std::puts("ok: wakers and a future in C++17");
  return 0;
}
