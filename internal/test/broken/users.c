#include "broken.h"

#include "rawwaker_audit.h"

#include <signal.h>
#include <string.h>

/* The future that the users misuse. It returns PENDING, then READY. */
static int polls;
static rawwaker kept;
static rawwaker_future itself;
static bool drops_inside;

static rawwaker_poll poll(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)out;
  if (drops_inside) itself.vtable->drop(itself.data);
  kept = *cx->waker;
  rawwaker_wake_by_ref(cx->waker);
  return ++polls == 2 ? RAWWAKER_READY : RAWWAKER_PENDING;
}
static void drop(void *data) { (void)data; }
static const rawwaker_future_vtable vtable = {poll, drop};

/* A future of 32 bytes, for a caller that assumes 8. */
static rawwaker_poll wide_poll(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)cx;
  for (int i = 0; i < 4; i++) ((uint64_t *)out)[i] = 42;
  return RAWWAKER_READY;
}
static const rawwaker_future_vtable wide_vtable = {wide_poll, drop};

static void poll_sized(rawwaker_future inner, rawwaker_context *cx, void *out) {
  rawwaker_future f = rawwaker_audit_future_sized(inner, sizeof(uint64_t));
  f.vtable->poll(f.data, cx, out);
  f.vtable->drop(f.data);
}

/* The stream that the users misuse. It returns READY, then end; inside polls it before that. */
static rawwaker_stream flow;
static rawwaker_poll end;
static bool inside;
static rawwaker_poll flow_next(void *data, rawwaker_context *cx, void *out) {
  (void)data, (void)out;
  if (inside) flow.vtable->poll_next(flow.data, cx, NULL);
  return ++polls == 1 ? RAWWAKER_READY : end;
}
static const rawwaker_stream_vtable flow_vtable = {flow_next, drop};
static const rawwaker_stream_vtable wide_flow = {wide_poll, drop};

static void poll_next_sized(const rawwaker_stream_vtable *of, rawwaker_context *cx, void *out) {
  rawwaker_stream s = rawwaker_audit_stream_sized((rawwaker_stream){NULL, of}, sizeof(uint64_t));
  s.vtable->poll_next(s.data, cx, out);
  s.vtable->drop(s.data);
}

static void misuse_stream(const broken *b, rawwaker_context *cx) {
  rawwaker_stream s = rawwaker_audit_stream((rawwaker_stream){NULL, &flow_vtable});
  bool panics = broken_is(b, "polls_a_stream_after_its_panic"), twice, late;
  end = panics ? RAWWAKER_PANICKED : RAWWAKER_DONE;
  inside = broken_is(b, "polls_a_stream_inside_a_poll");
  twice = broken_is(b, "drops_a_stream_twice");
  late = broken_is(b, "polls_a_dropped_stream");
  flow = s;
  /* READY, the end, and the end again, which is correct after DONE only. */
  for (int i = 0; i < 3; i++) s.vtable->poll_next(s.data, cx, NULL);
  s.vtable->drop(s.data);
  if (twice) s.vtable->drop(s.data);
  if (late) s.vtable->poll_next(s.data, cx, NULL);
}

static rawwaker_oneshot *sender;
static void handler(int signal) {
  (void)signal;
  rawwaker_oneshot_send(sender, NULL);
}
#ifdef _WIN32 /* no sigaction, and no test runs the cases there */
static void send_in_a_handler(void) { handler(0); }
#else
static void send_in_a_handler(void) {
  struct sigaction a, before;
  memset(&a, 0, sizeof a);
  a.sa_handler = handler;
  a.sa_flags = SA_ONSTACK; /* as Go requires */
  sigaction(SIGUSR2, &a, &before);
  raise(SIGUSR2);
  sigaction(SIGUSR2, &before, NULL);
}
#endif

void broken_user(const broken *b, rawwaker w) {
  rawwaker_future f = rawwaker_audit_future((rawwaker_future){NULL, &vtable});
  rawwaker_context cx = {&w};
  polls = 0;
  drops_inside = false;
  itself = f;
  if (broken_is(b, "drops_a_waker_twice")) {
    rawwaker c = rawwaker_clone(&w);
    rawwaker_drop(c);
    rawwaker_drop(c);
  } else if (broken_is(b, "wakes_and_drops")) {
    rawwaker c = rawwaker_clone(&w);
    rawwaker_wake(c);
    rawwaker_drop(c);
  } else if (broken_is(b, "clones_after_drop")) {
    rawwaker c = rawwaker_clone(&w);
    rawwaker_drop(c);
    rawwaker_drop(rawwaker_clone(&c));
  } else if (broken_is(b, "wakes_after_wake")) {
    rawwaker c = rawwaker_clone(&w);
    rawwaker_wake(c);
    rawwaker_wake_by_ref(&c);
  } else if (broken_is(b, "leaks_a_reference")) {
    rawwaker c = rawwaker_clone(&w);
    rawwaker_wake_by_ref(&c);
  } else if (broken_is(b, "forgets_a_clone")) {
    (void)rawwaker_clone(&w);
  } else if (broken_is(b, "wakes_under_a_lock")) {
    rawwaker_audit_lock(1);
    rawwaker_wake_by_ref(&w);
    rawwaker_audit_lock(-1);
  } else if (broken_is(b, "uses_a_context_later")) {
    f.vtable->poll(f.data, &cx, NULL);
    rawwaker_wake_by_ref(&kept);
  } else if (broken_is(b, "polls_once_too_often")) {
    for (int i = 0; i < 3; i++) f.vtable->poll(f.data, &cx, NULL);
  } else if (broken_is(b, "drops_a_future_twice")) {
    f.vtable->drop(f.data);
    f.vtable->drop(f.data);
  } else if (broken_is(b, "drops_inside_a_poll")) {
    drops_inside = true;
    f.vtable->poll(f.data, &cx, NULL);
  } else if (broken_is(b, "takes_a_result_for_smaller")) {
    uint64_t out = 0;
    poll_sized((rawwaker_future){NULL, &wide_vtable}, &cx, &out);
  } else if (broken_is(b, "polls_without_out")) {
    poll_sized((rawwaker_future){NULL, &vtable}, &cx, NULL);
  } else if (broken_is(b, "takes_an_item_for_smaller")) {
    uint64_t out = 0;
    poll_next_sized(&wide_flow, &cx, &out);
  } else if (broken_is(b, "polls_a_stream_without_out")) {
    poll_next_sized(&flow_vtable, &cx, NULL);
  } else if (strstr(b->name, "_stream") != NULL) {
    misuse_stream(b, &cx);
  } else if (broken_is(b, "returns_a_loan_twice")) {
    rawwaker lent = rawwaker_audit_lend(&w);
    rawwaker_audit_return(&lent);
    rawwaker_audit_return(&lent);
  } else if (broken_is(b, "sends_after_drop")) {
    rawwaker_audit_senders();
    (void)rawwaker_oneshot_new(0, 0, NULL, NULL, &sender);
    rawwaker_oneshot_drop(sender);
    rawwaker_oneshot_send(sender, NULL); /* it does not return */
  } else if (broken_is(b, "forgets_a_sender") || broken_is(b, "sends_in_a_handler")) {
    rawwaker_audit_senders();
    rawwaker_future oneshot = rawwaker_oneshot_new(0, 0, NULL, NULL, &sender);
    if (broken_is(b, "sends_in_a_handler")) send_in_a_handler();
    oneshot.vtable->drop(oneshot.data);
  }
  rawwaker_drop(w);
}
