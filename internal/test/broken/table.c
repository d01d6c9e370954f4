#include "broken.h"

#include <string.h>
#include <time.h>

#define W(name, does, kit, audit) {#name, "waker", does, kit, audit, false}
#define F(name, does, kit, audit) {#name, "future", does, kit, audit, false}
#define S(name, does, kit, audit) {#name, "stream", does, kit, audit, false}
#define E(name, does, kit, audit) {#name, "executor", does, kit, audit, false}
#define U(name, does, audit) {#name, "user", does, NULL, audit, false}

const broken broken_all[] = {
    W(sound_waker, "keeps every rule", NULL, NULL),
    W(waker_without_a_slot, "has no wake_by_ref", "complete_vtable", NULL),
    W(clone_without_a_vtable, "clone returns two null words", "clone_is_a_reference",
      "empty_clone"),
    W(clone_counts_nothing, "clone does not count the new reference", "clone_is_a_reference", NULL),
    W(clone_of_another_task, "clone returns a waker of another task", "clone_is_a_reference", NULL),
    W(clone_of_clone_is_shared, "the clone of a clone is the same reference",
      "clone_may_change_data", NULL),
    W(wake_keeps_its_reference, "wake does not release", "wake_consumes", NULL),
    W(wake_releases_twice, "wake releases two references", "wake_consumes", NULL),
    W(wake_does_nothing, "wake releases the reference and does not wake", "wake_consumes", NULL),
    W(wake_by_ref_consumes, "wake_by_ref releases the reference", "wake_by_ref_borrows", NULL),
    W(wake_by_ref_does_nothing, "wake_by_ref does not wake", "wake_by_ref_borrows", NULL),
    W(drop_wakes, "drop wakes the task", "drop_wakes_nobody", NULL),
    W(drop_releases_nothing, "drop does not release", "references_balance", NULL),
    W(flag_is_never_cleared, "the poll does not clear the notification", "wakes_coalesce", NULL),
    {"second_wake_only_looks", "waker",
     "a wake that finds the task woken loads the flag and stores nothing", "wakes_publish", NULL,
     true},
    W(first_wake_is_lost, "a new task counts as woken, so its first wake does nothing",
      "wake_before_the_poll", NULL),
    W(flag_is_cleared_after_the_poll, "the end of the poll clears a wake that came during it",
      "wake_during_the_poll", NULL),
    W(polled_task_hears_no_clone, "after the first poll, wakes of clones do nothing",
      "wake_after_the_poll", NULL),
    W(wakes_the_dead, "a wake after the task's end schedules it", "wake_after_the_end", NULL),
    W(drop_waits_for_wake, "drop takes the lock that is held during a wake", "drop_inside_wake",
      NULL),
    W(clone_waits_for_wake, "clone takes the lock that is held during a wake", "clone_inside_wake",
      NULL),
    W(count_is_not_atomic, "references are counted by plain loads and stores", "storm", NULL),
    W(all_tasks_are_equal, "every waker has the same two words", "will_wake", NULL),
    W(bound_to_its_thread, "a wake on another thread than the maker's does nothing",
      "unknown_thread", NULL),
    W(clone_waits_for_poll, "clone takes the lock that is held during a poll", "slots_under_a_lock",
      NULL),

    F(sound_future, "keeps every rule", NULL, NULL),
    F(future_without_drop, "has no slot drop", "complete_future_vtable", NULL),
    F(keeps_no_waker, "returns PENDING and keeps no waker", "pending_keeps_a_waker",
      "pending_without_waker"),
    F(keeps_the_borrowed_waker, "keeps the context's waker without a clone",
      "pending_keeps_a_waker", "use_after_poll"),
    F(drops_the_borrowed_waker, "drops the context's waker", "context_is_borrowed",
      "borrowed_consumed"),
    F(wakes_the_borrowed_waker, "wakes the context's waker by value", "context_is_borrowed",
      "borrowed_consumed"),
    F(never_wakes, "does not wake when it can continue", "wakes_when_it_can_go_on", NULL),
    F(wakes_then_drops, "drops the waker that it has woken by value", "wakes_when_it_can_go_on",
      "double_drop"),
    F(keeps_the_first_waker, "keeps the waker of its first poll permanently",
      "latest_waker_is_woken", "pending_without_waker"),
    F(gives_no_code, "its third poll returns 7", "unasked_poll", "no_such_code"),
    F(drops_the_old_waker_twice, "drops the waker of the previous poll twice", "unasked_poll",
      "double_drop"),
    F(knows_one_thread, "drops its waker if another thread polls", "polls_on_any_thread",
      "pending_without_waker"),
    F(leaks_if_never_polled, "drop before the first poll releases nothing", "drop_before_the_poll",
      NULL),
    F(keeps_its_waker_over_drop, "drop while pending does not drop the waker", "drop_while_pending",
      "forgotten"),
    F(never_ends_its_operation, "lingers, and its operation never ends after the drop",
      "drop_while_pending", NULL),
    F(leaks_after_ready, "drop after READY releases nothing", "drop_after_ready", NULL),
    F(writes_early, "writes *out while it is PENDING", "out_only_when_ready", NULL),
    F(drop_races_with_wake, "the completing side wakes a waker that drop may have dropped",
      "drop_beside_the_wake", NULL),
    F(wakes_under_its_lock, "wakes while it holds its lock", "wakes_under_no_lock",
      "slot_under_lock"),
    F(wakes_before_its_condition, "wakes before it sets the condition", "set_before_wake", NULL),
    F(clones_under_its_lock, "clones while it holds its lock", "clones_under_no_lock",
      "slot_under_lock"),

    S(sound_stream, "keeps every rule", NULL, NULL),
    S(stream_without_drop, "has no slot drop", "complete_stream_vtable", NULL),
    S(skips_an_item, "gives its third item in place of the second", "items_in_order", NULL),
    S(stream_gives_no_code, "its third poll_next returns 9", "items_in_order", "no_such_code"),
    S(done_then_pending, "returns PENDING after DONE", "done_is_repeated", "done_is_repeated"),
    S(one_item_for_a_wake, "gives one item after each wake, although more are there",
      "one_wake_for_many_items", NULL),
    S(looks_then_registers, "looks for an item first and keeps its waker afterwards",
      "items_from_a_thread", NULL),
    S(stream_writes_early, "writes *out without READY", "item_only_when_ready", NULL),
    S(leaks_items_that_are_left, "drop before DONE leaks the items that were not received",
      "drop_between_items", NULL),
    S(leaks_after_done, "drop after DONE releases nothing", "drop_after_done", NULL),
    S(stream_keeps_no_waker, "returns PENDING and keeps no waker", "stream_pending_keeps_a_waker",
      "pending_without_waker"),
    S(stream_keeps_the_borrowed, "keeps the context's waker without a clone",
      "stream_pending_keeps_a_waker", "use_after_poll"),
    S(stream_drops_the_borrowed, "drops the context's waker", "stream_context_is_borrowed",
      "borrowed_consumed"),
    S(stream_never_wakes, "does not wake when it can continue", "stream_wakes_when_it_can_go_on",
      NULL),
    S(stream_keeps_the_first_waker, "keeps the waker of its first poll permanently",
      "stream_latest_waker_is_woken", "pending_without_waker"),
    S(stream_drops_the_old_waker_twice, "drops the waker of the previous poll twice",
      "stream_unasked_poll", "double_drop"),
    S(stream_knows_one_thread, "keeps no waker if another thread polls",
      "stream_polls_on_any_thread", "pending_without_waker"),
    S(stream_leaks_if_never_polled, "drop before the first poll releases nothing",
      "stream_drop_before_the_poll", NULL),
    S(stream_keeps_its_waker_over_drop, "drop while pending does not drop the waker",
      "stream_drop_while_pending", "forgotten"),
    S(stream_drop_races_with_wake, "the producing side wakes a waker that drop may have dropped",
      "stream_drop_beside_the_wake", NULL),
    S(stream_wakes_under_its_lock, "wakes while it holds its lock", "stream_wakes_under_no_lock",
      "slot_under_lock"),
    S(stream_wakes_before_its_condition, "wakes before it sets the condition",
      "stream_set_before_wake", NULL),
    S(stream_clones_under_its_lock, "clones while it holds its lock", "stream_clones_under_no_lock",
      "slot_under_lock"),

    E(sound_executor, "keeps every rule", NULL, NULL),
    E(forgets_a_task, "every seventh task is never polled", "polls_every_task", NULL),
    E(never_drops, "does not drop completed futures", "polls_every_task", NULL),
    E(drops_twice, "drops completed futures twice", "polls_every_task", "future_double_drop"),
    E(polls_after_ready, "polls once more after READY", "polls_every_task", "poll_after_ready"),
    E(loses_a_wake_during_the_poll, "clears the notification after the poll",
      "wake_inside_the_poll", NULL),
    E(polls_inside_wake, "wake polls the task itself", "wake_from_another_thread", NULL),
    {"wake_is_not_published", "executor", "a wake that finds the task woken only loads the flag",
     "poll_sees_what_wakes_publish", NULL, true},
    E(waker_dies_with_its_task, "a wake after the task's end aborts", "waker_outlives_its_task",
      NULL),
    E(close_leaves_tasks, "close drops no future", "close_drops_the_rest", NULL),
    E(spawn_inside_is_lost, "discards a task that is spawned inside a poll", "spawn_inside_a_poll",
      NULL),
    E(polls_twice_at_once, "a wake during the poll starts a second, concurrent poll",
      "wake_inside_the_poll", "slots_overlap"),
    E(loses_a_wake_under_load, "of two concurrent wakes one does nothing", "executor_storm", NULL),

    U(drops_a_waker_twice, "drops one reference twice", "double_drop"),
    U(wakes_and_drops, "drops a reference that wake has consumed", "double_drop"),
    U(clones_after_drop, "clones a reference that was dropped", "use_after_drop"),
    U(wakes_after_wake, "wakes a consumed reference again, by reference", "use_after_drop"),
    U(leaks_a_reference, "uses a clone and never drops it", "leak"),
    U(forgets_a_clone, "clones and neither uses nor drops the clone", "forgotten"),
    U(wakes_under_a_lock, "wakes while it holds a lock", "slot_under_lock"),
    U(uses_a_context_later, "uses the context's waker after the poll", "use_after_poll"),
    U(polls_once_too_often, "polls a future after READY", "poll_after_ready"),
    U(drops_a_future_twice, "drops a future twice", "future_double_drop"),
    U(drops_inside_a_poll, "drops a future while it is being polled", "slots_overlap"),
    U(takes_a_result_for_smaller, "polls a future of 32 bytes with memory for 8",
      "result_too_large"),
    U(polls_without_out, "polls a future of 8 bytes with a NULL out", "null_out"),
    U(polls_a_stream_after_its_panic, "polls a stream after PANICKED", "poll_after_ready"),
    U(polls_a_dropped_stream, "polls a stream that it has dropped", "poll_after_ready"),
    U(drops_a_stream_twice, "drops a stream twice, after DONE", "future_double_drop"),
    U(polls_a_stream_inside_a_poll, "polls a stream while it is being polled", "slots_overlap"),
    U(takes_an_item_for_smaller, "polls a stream of 32 bytes an item with memory for 8",
      "result_too_large"),
    U(polls_a_stream_without_out, "polls a stream of 8 bytes an item with a NULL out", "null_out"),
    U(returns_a_loan_twice, "ends one loan of a waker twice", "double_return"),
    U(sends_after_drop, "sends with a sender that it has dropped", "sender_use_after"),
    U(forgets_a_sender, "makes a oneshot and never uses its sender", "sender_forgotten"),
    U(sends_in_a_handler, "sends in a signal handler", "sender_in_signal"),
    {NULL, NULL, NULL, NULL, NULL, false},
};

const broken *broken_find(const char *name) {
  for (const broken *b = broken_all; b->name != NULL; b++)
    if (strcmp(b->name, name) == 0) return b;
  return NULL;
}

bool broken_is(const broken *b, const char *name) { return strcmp(b->name, name) == 0; }

static int64_t milliseconds_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool broken_wait(bool (*ready)(void *arg), void *arg, int milliseconds) {
  for (int64_t end = milliseconds_now() + milliseconds; !ready(arg);) {
    if (milliseconds_now() > end) return false;
    struct timespec pause = {0, 50000};
    nanosleep(&pause, NULL);
  }
  return true;
}
