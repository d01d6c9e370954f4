/* gap.h - has every atomic step of a file that is included after it call gap first, so that a test
 * runs other threads' steps between two of them, or stops a thread there. For gaps.c and
 * channel_gaps.c, which define gap, and for stopped.c, which defines GAP: it is
 * given the step's text and the word's address. */
#ifndef GAP_H
#define GAP_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef GAP
static void gap(void);
#define GAP(step, word) gap()
#endif
#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#define atomic_load_explicit(p, order) (GAP("load " #p, p), __atomic_load_n((p), (order)))
#define atomic_store_explicit(p, v, order) \
  (GAP("store " #p, p), __atomic_store_n((p), (v), (order)))
#define atomic_exchange_explicit(p, v, order) \
  (GAP("exchange " #p, p), __atomic_exchange_n((p), (v), (order)))
#define atomic_fetch_add_explicit(p, v, order) \
  (GAP("add " #p, p), __atomic_fetch_add((p), (v), (order)))
#define atomic_fetch_sub_explicit(p, v, order) \
  (GAP("sub " #p, p), __atomic_fetch_sub((p), (v), (order)))
#define atomic_fetch_or_explicit(p, v, order) \
  (GAP("or " #p, p), __atomic_fetch_or((p), (v), (order)))
#define atomic_fetch_and_explicit(p, v, order) \
  (GAP("and " #p, p), __atomic_fetch_and((p), (v), (order)))
#define atomic_compare_exchange_strong_explicit(p, e, v, order, fail) \
  (GAP("swap " #p, p), __atomic_compare_exchange_n((p), (e), (v), 0, (order), (fail)))
#define atomic_compare_exchange_weak_explicit(p, e, v, order, fail) \
  (GAP("swap " #p, p), __atomic_compare_exchange_n((p), (e), (v), 0, (order), (fail)))

#ifndef GAP_ALONE
/* gaps counts those of the call under test. The actions of other threads run in two of them, or the
 * call is left in one. */
static unsigned long gaps, first_at, second_at, stop_at, interleavings, stops;
static bool alone; /* no thread is under test, or another thread steps */
static jmp_buf stopped;

/* The stopped threads' memory, kept reachable for LeakSanitizer. */
static void *kept[1 << 16];
static size_t kept_n;
static void *keep(void *p) {
  if (kept_n == sizeof kept / sizeof *kept) {
    printf("FAIL too few entries in kept\n");
    exit(1);
  }
  return kept[kept_n++] = p;
}
#endif

#endif
