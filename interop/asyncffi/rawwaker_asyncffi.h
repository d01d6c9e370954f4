/* rawwaker_asyncffi.h - converts between rawwaker_future and the FfiFuture of Rust's async-ffi.
 *
 * The Rust crate async-ffi, 0.3 to 0.5 (its ABI_VERSION 2), passes futures between shared objects
 * as FfiFuture<T>, a struct of three words. This header converts an FfiFuture to a rawwaker_future,
 * and back. It needs rawwaker.h, and a program linked with rawwaker.c.
 *
 *   EXAMPLE
 *
 *     RAWWAKER_ASYNCFFI_DEFINE(ffi_u32, uint32_t)   // ffi_u32_future is Rust's FfiFuture<u32>
 *
 *     // Rust: extern "C" fn work(arg: u32) -> FfiFuture<u32>
 *     ffi_u32_future work(uint32_t arg);
 *     uint32_t out;
 *     if (rawwaker_block_on(ffi_u32_into_raw(work(7)), &out) == RAWWAKER_READY) use(out);
 *
 *     // Rust: extern "C" { fn download() -> FfiFuture<u32>; }
 *     //       let n = unsafe { download() }.await;
 *     ffi_u32_future download(void) {
 *       return ffi_u32_from_raw(download_in_c());
 *     }
 *
 *   OWNERSHIP
 *
 *   Futures   Both conversions consume their argument and return one future. Drop it exactly once,
 *             also after READY and PANICKED. If it is dropped early, the original future is dropped
 *             too.
 *   Wakers    A context's waker is borrowed for the poll. Call only its clone and wake_by_ref
 *             slots: in the other two a Rust host aborts. Its clone may return another pointer,
 *             with another vtable.
 *   Panics    async-ffi passes no panic text. A panic in Rust becomes RAWWAKER_PANICKED with the
 *             text "async-ffi future panicked". RAWWAKER_PANICKED from C panics in Rust with "FFI
 *             future panicked"; rawwaker_last_panic() has C's text, on the thread that polled.
 *   Threads   An FfiFuture is Send, and by its contract so is a rawwaker_future. A LocalFfiFuture
 *             is the same struct: poll and drop the converted future on one thread. A
 *             BorrowingFfiFuture must not outlive what it borrows.
 *
 *   WAKERS
 *
 *   A waker that was converted before is unwrapped if the header can recognise it, so that
 *   will_wake stays true on both sides:
 *
 *     C polls Rust under a box of rawwaker.c    The box's pointer is an async-ffi waker already: no
 *                                               clone, no allocation.
 *     C polls Rust under an async-ffi waker     That waker's pointer is used again.
 *     C polls Rust under any other waker        An adapter in the future's memory holds one clone
 *                                               of it while Rust keeps a clone of the adapter and
 *                                               the next poll's waker is equal. Another adapter is
 *                                               allocated only if the waker changes while Rust
 *                                               still has clones of the first.
 *     Rust or C polls C under one of these      The waker inside is used.
 *     Rust polls C under a waker of Rust's      It is used, borrowed. async-ffi allocates for each
 *                                               clone, and no two clones are equal.
 *
 *   A waker is recognised by the address of its vtable. This header's vtables exist once in each
 *   file that includes it. Between two such files, adapters are not unwrapped and
 *   rawwaker_will_wake is false: this costs one more clone or adapter, but loses no wake. To avoid
 *   it, include the header in one .c file, and export functions from there that call name_into_raw
 *   and name_from_raw. Boxes are recognised in every file: their vtables are in rawwaker.c.
 *
 *   The last lines of each function's comment are its contract, as in rawwaker.h: takes | gives |
 *   threads | signals | fails. Names that contain "private" may change at any time.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RAWWAKER_ASYNCFFI_H
#define RAWWAKER_ASYNCFFI_H

#include "rawwaker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<size_t> rawwaker_asyncffi_private_count;
#define RAWWAKER_ASYNCFFI_PRIVATE_ORD(order) std::memory_order_##order
#define RAWWAKER_ASYNCFFI_PRIVATE_PIN(what) static_assert(what, #what)
#define RAWWAKER_ASYNCFFI_PRIVATE_ALIGN(type) alignof(type)
extern "C" {
#else
#include <stdatomic.h>
typedef _Atomic(size_t) rawwaker_asyncffi_private_count;
#define RAWWAKER_ASYNCFFI_PRIVATE_ORD(order) memory_order_##order
#define RAWWAKER_ASYNCFFI_PRIVATE_PIN(what) _Static_assert(what, #what)
#define RAWWAKER_ASYNCFFI_PRIVATE_ALIGN(type) _Alignof(type)
#endif

/* The async_ffi::ABI_VERSION that this header implements. It cannot be checked at run time. */
#define RAWWAKER_ASYNCFFI_ABI_VERSION 2

/* FfiPoll's tags, the same numbers as rawwaker_poll's. The tag is stored as a uint8_t: a C enum
 * would read three bytes of padding. */
enum { RAWWAKER_ASYNCFFI_READY = 0, RAWWAKER_ASYNCFFI_PENDING = 1, RAWWAKER_ASYNCFFI_PANICKED = 2 };

/* FfiContext. It is valid during one poll. */
typedef struct rawwaker_asyncffi_context {
  const rawwaker_boxed *waker;
} rawwaker_asyncffi_context;

/* -------------------------------------------------------------------- for one result type -- */

/* RAWWAKER_ASYNCFFI_DEFINE(name, type), without a semicolon, defines the following for
 * FfiFuture<T>. type is T in C.
 *
 *   name_poll                FfiPoll<T>: {uint8_t tag; union {type ready;} u;}
 *   name_future              FfiFuture<T>: {void *fut;
 *                                           name_poll (*poll)(void *fut,
 *                                                             rawwaker_asyncffi_context *cx);
 *                                           void (*drop)(void *fut);}
 *
 *   rawwaker_future name_into_raw(name_future f)
 *     Returns f as a C future. It allocates once. The future's poll writes a T to out. If out is
 *     NULL when f is ready, the poll returns RAWWAKER_PANICKED with a text, and the T is not
 *     dropped, because C cannot drop it.
 *     takes f | gives a future | threads any | signals no | fails: abort on an empty slot or out of
 *     memory
 *
 *   name_future name_from_raw(rawwaker_future f)
 *     Returns f as an async-ffi future. It allocates once. f's poll must write a T to out. If the
 *     future is polled after completion, it panics.
 *     takes f | gives a future | threads any | signals no | fails: abort on a NULL vtable, an empty
 *     slot or out of memory, and in its poll on a code that f's poll may not return
 *
 * type must be a name that a variable's name can follow. For [u64; 2], define a struct that holds
 * the array. */
#define RAWWAKER_ASYNCFFI_DEFINE(name, type)                                                       \
  typedef struct name##_poll {                                                                     \
    uint8_t tag;                                                                                   \
    union {                                                                                        \
      type ready;                                                                                  \
    } u;                                                                                           \
  } name##_poll;                                                                                   \
  RAWWAKER_ASYNCFFI_PRIVATE_PIN(offsetof(name##_poll, u) ==                                        \
                                RAWWAKER_ASYNCFFI_PRIVATE_ALIGN(type));                            \
  static inline void *name##_private_place(name##_poll *p) { return &p->u.ready; }                 \
  static inline bool name##_private_copy(void *out, const name##_poll *p) {                        \
    if (out == NULL) return false;                                                                 \
    memcpy(out, &p->u.ready, sizeof(type));                                                        \
    return true;                                                                                   \
  }                                                                                                \
  RAWWAKER_ASYNCFFI_PRIVATE_DEFINE(name)

/* Defines the same for FfiFuture<()>, whose FfiPoll is one byte. out is not used. */
#define RAWWAKER_ASYNCFFI_DEFINE_VOID(name)                                                        \
  typedef struct name##_poll {                                                                     \
    uint8_t tag;                                                                                   \
  } name##_poll;                                                                                   \
  RAWWAKER_ASYNCFFI_PRIVATE_PIN(sizeof(name##_poll) == 1);                                         \
  static inline void *name##_private_place(name##_poll *p) { return (void)p, (void *)0; }          \
  static inline bool name##_private_copy(void *out, const name##_poll *p) {                        \
    return (void)out, (void)p, true;                                                               \
  }                                                                                                \
  RAWWAKER_ASYNCFFI_PRIVATE_DEFINE(name)

/* ------------------------------------------------------------------------- the two wakers -- */

/* The waker that an FfiFuture is polled under if the host's waker is no box and no async-ffi waker.
 *
 * refs counts the lender's hold as 1, and each loan and each of Rust's clones as 2. When the last
 * loan or clone ends, the adapter drops its waker, also if the future is not being polled: a task
 * that only its own wakers keep alive may hold the future, and must not stay alive through a waker
 * that nothing can use. EMPTYING is set meanwhile, and the lender takes another adapter. The waker
 * changes only then, and in the lender's calls while refs is the hold alone. */
typedef struct rawwaker_asyncffi_adapter {
  rawwaker_boxed base;
  rawwaker_asyncffi_private_count refs;
  rawwaker waker;   /* one clone, or none if its vtable is NULL */
} rawwaker_asyncffi_adapter;

/* Owns the adapters of one future. The first adapter is also the head of the future's memory. Its
 * last reference frees that memory: the future's own, or that of a clone that outlives the
 * future. */
typedef struct rawwaker_asyncffi_lender {
  rawwaker_asyncffi_adapter first;
  rawwaker_asyncffi_adapter *now;   /* the adapter of the latest loan: first, or another */
} rawwaker_asyncffi_lender;

static inline void rawwaker_asyncffi_private_die(const char *call, const char *why) {
  fprintf(stderr, "rawwaker: %s: %s\n", call, why);
  abort();
}

static inline void *rawwaker_asyncffi_private_alloc(size_t size, const char *call) {
  void *p = malloc(size);
  if (p == NULL) rawwaker_asyncffi_private_die(call, "out of memory");
  return p;
}

/* Removes const: async-ffi declares self const, although wake and drop change the count. */
static inline void *rawwaker_asyncffi_private_own(const rawwaker_boxed *b) {
  return (void *)(uintptr_t)b;
}

#define RAWWAKER_ASYNCFFI_PRIVATE_HOLD ((size_t)1)
#define RAWWAKER_ASYNCFFI_PRIVATE_REF ((size_t)2)
#define RAWWAKER_ASYNCFFI_PRIVATE_EMPTYING (SIZE_MAX / 2 + 1)

/* Ends a loan or a clone. */
static inline void rawwaker_asyncffi_private_unref(rawwaker_asyncffi_adapter *a) {
  size_t refs = atomic_load_explicit(&a->refs, RAWWAKER_ASYNCFFI_PRIVATE_ORD(relaxed)), next;
  do {
    next = refs - RAWWAKER_ASYNCFFI_PRIVATE_REF;
    if (next == RAWWAKER_ASYNCFFI_PRIVATE_HOLD) next |= RAWWAKER_ASYNCFFI_PRIVATE_EMPTYING;
    /* acquire: other threads' uses of the references that they have released happen before */
  } while (!atomic_compare_exchange_weak_explicit(&a->refs, &refs, next,
                                                  RAWWAKER_ASYNCFFI_PRIVATE_ORD(acq_rel),
                                                  RAWWAKER_ASYNCFFI_PRIVATE_ORD(relaxed)));
  if (next != 0 && (next & RAWWAKER_ASYNCFFI_PRIVATE_EMPTYING) == 0) return;
  rawwaker w = a->waker;
  a->waker.vtable = NULL;
  if (next == 0 ||
      atomic_fetch_and_explicit(&a->refs, ~RAWWAKER_ASYNCFFI_PRIVATE_EMPTYING,
                                RAWWAKER_ASYNCFFI_PRIVATE_ORD(acq_rel)) ==
          RAWWAKER_ASYNCFFI_PRIVATE_EMPTYING)
    free(a);
  if (w.vtable != NULL) rawwaker_drop(w);
}

/* Ends the lender's hold. */
static inline void rawwaker_asyncffi_private_unhold(rawwaker_asyncffi_adapter *a) {
  if (atomic_fetch_sub_explicit(&a->refs, RAWWAKER_ASYNCFFI_PRIVATE_HOLD,
                                RAWWAKER_ASYNCFFI_PRIVATE_ORD(acq_rel)) ==
      RAWWAKER_ASYNCFFI_PRIVATE_HOLD)
    free(a);
}

/* Begins a loan of a under w. It returns true, with a reference for the loan, if a is empty or
 * holds a waker equal to w. */
static inline bool rawwaker_asyncffi_private_loan(rawwaker_asyncffi_adapter *a, const rawwaker *w) {
  size_t refs = atomic_load_explicit(&a->refs, RAWWAKER_ASYNCFFI_PRIVATE_ORD(acquire));
  do {
    if ((refs & RAWWAKER_ASYNCFFI_PRIVATE_EMPTYING) != 0) return false;
    /* If the hold is the only reference, only this thread can create another. */
    if (refs == RAWWAKER_ASYNCFFI_PRIVATE_HOLD) {
      a->waker = rawwaker_clone(w);
      atomic_store_explicit(&a->refs,
                            RAWWAKER_ASYNCFFI_PRIVATE_HOLD + RAWWAKER_ASYNCFFI_PRIVATE_REF,
                            RAWWAKER_ASYNCFFI_PRIVATE_ORD(relaxed));
      return true;
    }
  } while (!atomic_compare_exchange_weak_explicit(&a->refs, &refs,
                                                  refs + RAWWAKER_ASYNCFFI_PRIVATE_REF,
                                                  RAWWAKER_ASYNCFFI_PRIVATE_ORD(acquire),
                                                  RAWWAKER_ASYNCFFI_PRIVATE_ORD(acquire)));
  if (rawwaker_will_wake(&a->waker, w)) return true;
  rawwaker_asyncffi_private_unref(a); /* Rust's clones of it must still wake the former waker */
  return false;
}

static inline const rawwaker_boxed *
rawwaker_asyncffi_private_adapter_clone(const rawwaker_boxed *self) {
  rawwaker_asyncffi_adapter *a = (rawwaker_asyncffi_adapter *)rawwaker_asyncffi_private_own(self);
  if (atomic_fetch_add_explicit(&a->refs, RAWWAKER_ASYNCFFI_PRIVATE_REF,
                                RAWWAKER_ASYNCFFI_PRIVATE_ORD(relaxed)) > SIZE_MAX / 4)
    rawwaker_asyncffi_private_die("async-ffi clone",
                                  "reference count overflow (wake or drop each clone)");
  return self;
}
static inline void rawwaker_asyncffi_private_adapter_wake_by_ref(const rawwaker_boxed *self) {
  rawwaker_wake_by_ref(&((rawwaker_asyncffi_adapter *)rawwaker_asyncffi_private_own(self))->waker);
}
static inline void rawwaker_asyncffi_private_adapter_drop(const rawwaker_boxed *self) {
  rawwaker_asyncffi_private_unref((rawwaker_asyncffi_adapter *)rawwaker_asyncffi_private_own(self));
}
static inline void rawwaker_asyncffi_private_adapter_wake(const rawwaker_boxed *self) {
  rawwaker_asyncffi_private_adapter_wake_by_ref(self);
  rawwaker_asyncffi_private_adapter_drop(self);
}

/* Returns the vtable of adapters. Each file that includes this header has its own.
 * takes - | gives a static address | threads any | signals yes | fails never */
static inline const rawwaker_boxed_vtable *rawwaker_asyncffi_adapter_vtable(void) {
  static const rawwaker_boxed_vtable vtable = {
      rawwaker_asyncffi_private_adapter_clone, rawwaker_asyncffi_private_adapter_wake,
      rawwaker_asyncffi_private_adapter_wake_by_ref, rawwaker_asyncffi_private_adapter_drop};
  return &vtable;
}

static inline rawwaker rawwaker_asyncffi_private_base_clone(void *data);
static inline void rawwaker_asyncffi_private_base_wake(void *data) {
  const rawwaker_boxed *b = (const rawwaker_boxed *)data;
  b->vtable->wake(b);
}
static inline void rawwaker_asyncffi_private_base_wake_by_ref(void *data) {
  const rawwaker_boxed *b = (const rawwaker_boxed *)data;
  b->vtable->wake_by_ref(b);
}
static inline void rawwaker_asyncffi_private_base_drop(void *data) {
  const rawwaker_boxed *b = (const rawwaker_boxed *)data;
  b->vtable->drop(b);
}

/* Returns the vtable of wakers whose data is an async-ffi waker of another library. Each file that
 * includes this header has its own.
 * takes - | gives a static address | threads any | signals yes | fails never */
static inline const rawwaker_vtable *rawwaker_asyncffi_base_vtable(void) {
  static const rawwaker_vtable vtable = {
      rawwaker_asyncffi_private_base_clone, rawwaker_asyncffi_private_base_wake,
      rawwaker_asyncffi_private_base_wake_by_ref, rawwaker_asyncffi_private_base_drop};
  return &vtable;
}

/* Returns an async-ffi waker as two words. Ownership of the reference does not change.
 * takes - | gives a waker, a box if b is one | threads any | signals yes | fails never */
static inline rawwaker rawwaker_asyncffi_waker(const rawwaker_boxed *b) {
  rawwaker w = rawwaker_from_boxed(b);
  if (w.vtable == NULL) w.vtable = rawwaker_asyncffi_base_vtable();
  w.data = rawwaker_asyncffi_private_own(b);
  return w;
}

static inline rawwaker rawwaker_asyncffi_private_base_clone(void *data) {
  const rawwaker_boxed *b = (const rawwaker_boxed *)data;
  return rawwaker_asyncffi_waker(b->vtable->clone(b));
}

/* Returns the waker to poll a rawwaker_future under, in a poll of an FfiFuture with cx.
 * takes - (borrows cx) | gives a borrowed waker, for this poll | threads the polling one |
 * signals no | fails never */
static inline rawwaker rawwaker_asyncffi_borrow(const rawwaker_asyncffi_context *cx) {
  if (cx->waker->vtable != rawwaker_asyncffi_adapter_vtable())
    return rawwaker_asyncffi_waker(cx->waker);
  return ((const rawwaker_asyncffi_adapter *)(const void *)cx->waker)->waker;
}

static inline void rawwaker_asyncffi_private_adapter_init(rawwaker_asyncffi_adapter *a) {
  a->base.vtable = rawwaker_asyncffi_adapter_vtable();
  atomic_store_explicit(&a->refs, RAWWAKER_ASYNCFFI_PRIVATE_HOLD,
                        RAWWAKER_ASYNCFFI_PRIVATE_ORD(relaxed));
  a->waker.data = NULL;
  a->waker.vtable = NULL;
}

/* Initialises *l, which must be the first member of memory from malloc.
 * takes - | gives *l | threads one | signals no | fails never */
static inline void rawwaker_asyncffi_lender_init(rawwaker_asyncffi_lender *l) {
  rawwaker_asyncffi_private_adapter_init(&l->first);
  l->now = &l->first;
}

/* Returns the context to poll an FfiFuture with under w. It begins a loan; call
 * rawwaker_asyncffi_settle after the poll to end it.
 * takes - (borrows w) | gives a context, for one poll | threads the polling one | signals no |
 * fails: as rawwaker_clone, and abort out of memory */
static inline rawwaker_asyncffi_context rawwaker_asyncffi_lend(rawwaker_asyncffi_lender *l,
                                                               const rawwaker *w) {
  rawwaker_asyncffi_context cx;
  if (rawwaker_is_box(w) || w->vtable == rawwaker_asyncffi_base_vtable()) {
    cx.waker = (const rawwaker_boxed *)w->data;
    return cx;
  }
  rawwaker_asyncffi_adapter *a = l->now;
  if (!rawwaker_asyncffi_private_loan(a, w)) {
    if (a != &l->first) rawwaker_asyncffi_private_unhold(a);
    bool other = a != &l->first;
    a = &l->first;
    if (!other || !rawwaker_asyncffi_private_loan(a, w)) {
      a = (rawwaker_asyncffi_adapter *)rawwaker_asyncffi_private_alloc(sizeof *a, __func__);
      rawwaker_asyncffi_private_adapter_init(a);
      rawwaker_asyncffi_private_loan(a, w);
    }
    l->now = a;
  }
  cx.waker = &a->base;
  return cx;
}

/* Ends the loan of rawwaker_asyncffi_lend, after the poll that returned tag. If Rust has not kept a
 * clone, the adapter drops its waker. If tag is PANICKED, the panic text is set.
 * takes - | gives tag as rawwaker_poll | threads the polling one | signals no | fails: as
 * rawwaker_drop */
static inline rawwaker_poll rawwaker_asyncffi_settle(rawwaker_asyncffi_lender *l,
                                                     const rawwaker_asyncffi_context *cx,
                                                     uint8_t tag) {
  static const char text[] = "async-ffi future panicked";
  if (cx->waker == &l->now->base) rawwaker_asyncffi_private_unref(l->now);
  if (tag == RAWWAKER_ASYNCFFI_PANICKED) rawwaker_set_panic(text, sizeof text - 1);
  return tag;
}

static inline rawwaker_poll rawwaker_asyncffi_private_ended(rawwaker_asyncffi_lender *l,
                                                            const rawwaker_asyncffi_context *cx,
                                                            uint8_t tag, bool none) {
  static const char text[] = "async-ffi: poll: out is NULL, but the future has a result";
  rawwaker_poll got = rawwaker_asyncffi_settle(l, cx, tag);
  if (!none) return got;
  rawwaker_set_panic(text, sizeof text - 1);
  return RAWWAKER_PANICKED;
}

/* Releases the future's hold of its adapters. The memory that begins with *l is freed, by this call
 * or with the last clone.
 * takes l | gives - | threads one, once | signals no | fails: as rawwaker_drop */
static inline void rawwaker_asyncffi_lender_drop(rawwaker_asyncffi_lender *l) {
  if (l->now != &l->first) rawwaker_asyncffi_private_unhold(l->now);
  rawwaker_asyncffi_private_unhold(&l->first);
}

/* ------------------------------------------------------------------------ the two futures -- */

/* What FfiFuture's fut points to: a rawwaker_future, and whether it has completed. Safe Rust may
 * poll a completed future again; a C future need not support that. */
typedef struct rawwaker_asyncffi_lent {
  rawwaker_future f;
  bool done;
} rawwaker_asyncffi_lent;

/* Polls the rawwaker_future of an FfiFuture.
 * takes - | gives the tag, and *out if it is READY | threads the polling one | signals no |
 * fails: abort on a code that poll may not return */
static inline uint8_t rawwaker_asyncffi_poll(rawwaker_asyncffi_lent *l,
                                             const rawwaker_asyncffi_context *cx, void *out) {
  static const char again[] = "future polled after completion";
  if (l->done) {
    rawwaker_set_panic(again, sizeof again - 1);
    return RAWWAKER_ASYNCFFI_PANICKED;
  }
  rawwaker w = rawwaker_asyncffi_borrow(cx);
  rawwaker_context inner;
  inner.waker = &w;
  rawwaker_set_panic("", 0);
  rawwaker_poll got = l->f.vtable->poll(l->f.data, &inner, out);
  /* A fourth tag would be undefined behaviour in Rust. */
  if (got > RAWWAKER_PANICKED)
    rawwaker_asyncffi_private_die("async-ffi poll", "slot poll returned an unknown code");
  l->done = got != RAWWAKER_PENDING;
  return got;
}

#define RAWWAKER_ASYNCFFI_PRIVATE_DEFINE(name)                                                     \
  typedef struct name##_future {                                                                   \
    void *fut;                                                                                     \
    name##_poll (*poll)(void *fut, rawwaker_asyncffi_context *cx);                                 \
    void (*drop)(void *fut);                                                                       \
  } name##_future;                                                                                 \
  RAWWAKER_ASYNCFFI_PRIVATE_PIN(sizeof(name##_future) == 3 * sizeof(void *));                      \
                                                                                                   \
  typedef struct name##_private_raw {                                                              \
    rawwaker_asyncffi_lender lender;                                                               \
    name##_future f;                                                                               \
  } name##_private_raw;                                                                            \
  static inline rawwaker_poll name##_private_raw_poll(void *data, rawwaker_context *cx,            \
                                                      void *out) {                                 \
    name##_private_raw *r = (name##_private_raw *)data;                                            \
    rawwaker_asyncffi_context lent = rawwaker_asyncffi_lend(&r->lender, cx->waker);                \
    name##_poll got = r->f.poll(r->f.fut, &lent);                                                  \
    bool none = got.tag == RAWWAKER_ASYNCFFI_READY && !name##_private_copy(out, &got);             \
    return rawwaker_asyncffi_private_ended(&r->lender, &lent, got.tag, none);                      \
  }                                                                                                \
  static inline void name##_private_raw_drop(void *data) {                                         \
    name##_private_raw *r = (name##_private_raw *)data;                                            \
    r->f.drop(r->f.fut);                                                                           \
    rawwaker_asyncffi_lender_drop(&r->lender);                                                     \
  }                                                                                                \
  static inline rawwaker_future name##_into_raw(name##_future f) {                                 \
    static const rawwaker_future_vtable vtable = {name##_private_raw_poll,                         \
                                                  name##_private_raw_drop};                        \
    if (f.poll == NULL) rawwaker_asyncffi_private_die(#name "_into_raw", "empty slot poll");       \
    if (f.drop == NULL) rawwaker_asyncffi_private_die(#name "_into_raw", "empty slot drop");       \
    name##_private_raw *r =                                                                        \
        (name##_private_raw *)rawwaker_asyncffi_private_alloc(sizeof *r, #name "_into_raw");       \
    rawwaker_asyncffi_lender_init(&r->lender);                                                     \
    r->f = f;                                                                                      \
    rawwaker_future raw;                                                                           \
    raw.data = r;                                                                                  \
    raw.vtable = &vtable;                                                                          \
    return raw;                                                                                    \
  }                                                                                                \
                                                                                                   \
  static inline name##_poll name##_private_ffi_poll(void *fut, rawwaker_asyncffi_context *cx) {    \
    name##_poll got;                                                                               \
    memset(&got, 0, sizeof got);                                                                   \
    got.tag =                                                                                      \
        rawwaker_asyncffi_poll((rawwaker_asyncffi_lent *)fut, cx, name##_private_place(&got));     \
    return got;                                                                                    \
  }                                                                                                \
  static inline void name##_private_ffi_drop(void *fut) {                                          \
    rawwaker_future f = ((rawwaker_asyncffi_lent *)fut)->f;                                        \
    free(fut);                                                                                     \
    f.vtable->drop(f.data);                                                                        \
  }                                                                                                \
  static inline name##_future name##_from_raw(rawwaker_future f) {                                 \
    if (f.vtable == NULL) rawwaker_asyncffi_private_die(#name "_from_raw", "NULL vtable");         \
    if (f.vtable->poll == NULL)                                                                    \
      rawwaker_asyncffi_private_die(#name "_from_raw", "empty slot poll");                         \
    if (f.vtable->drop == NULL)                                                                    \
      rawwaker_asyncffi_private_die(#name "_from_raw", "empty slot drop");                         \
    rawwaker_asyncffi_lent *l =                                                                    \
        (rawwaker_asyncffi_lent *)rawwaker_asyncffi_private_alloc(sizeof *l, #name "_from_raw");   \
    l->f = f;                                                                                      \
    l->done = false;                                                                               \
    name##_future ffi;                                                                             \
    ffi.fut = l;                                                                                   \
    ffi.poll = name##_private_ffi_poll;                                                            \
    ffi.drop = name##_private_ffi_drop;                                                            \
    return ffi;                                                                                    \
  }

/* ---------------------------------------------------------------------- the pinned layout -- */

RAWWAKER_ASYNCFFI_PRIVATE_PIN(sizeof(rawwaker_asyncffi_context) == sizeof(void *));
RAWWAKER_ASYNCFFI_PRIVATE_PIN(offsetof(rawwaker_asyncffi_context, waker) == 0);
RAWWAKER_ASYNCFFI_PRIVATE_PIN(offsetof(rawwaker_boxed, vtable) == 0);
RAWWAKER_ASYNCFFI_PRIVATE_PIN(offsetof(rawwaker_boxed_vtable, clone) == 0);
RAWWAKER_ASYNCFFI_PRIVATE_PIN(offsetof(rawwaker_boxed_vtable, wake) == sizeof(void *));
RAWWAKER_ASYNCFFI_PRIVATE_PIN(offsetof(rawwaker_boxed_vtable, wake_by_ref) == 2 * sizeof(void *));
RAWWAKER_ASYNCFFI_PRIVATE_PIN(offsetof(rawwaker_boxed_vtable, drop) == 3 * sizeof(void *));
RAWWAKER_ASYNCFFI_PRIVATE_PIN(offsetof(rawwaker_asyncffi_adapter, base) == 0);
RAWWAKER_ASYNCFFI_PRIVATE_PIN(offsetof(rawwaker_asyncffi_lender, first) == 0);
RAWWAKER_ASYNCFFI_PRIVATE_PIN((int)RAWWAKER_ASYNCFFI_READY == (int)RAWWAKER_READY);
RAWWAKER_ASYNCFFI_PRIVATE_PIN((int)RAWWAKER_ASYNCFFI_PENDING == (int)RAWWAKER_PENDING);
RAWWAKER_ASYNCFFI_PRIVATE_PIN((int)RAWWAKER_ASYNCFFI_PANICKED == (int)RAWWAKER_PANICKED);

#ifdef __cplusplus
}
#endif

#endif /* RAWWAKER_ASYNCFFI_H */
