/* rawwaker_audit.h - wraps a waker or a future of anybody's and says which rule of rawwaker.h's contract is broken, on which
 * thread, from where, and what went before. For tests and for hunting: each reference is a record of its own, and the last
 * 65,536 that are gone are kept so that a second use is told from a new waker. Memory of records is used again and never given
 * back: it grows to as many as were there at once. Of the findings that are not taken the first 512 are kept, the rest counted.
 *
 * The slots of an audited waker may be called wherever those of the waker inside may: they take no lock, wait for no other
 * thread, keep errno, are no cancellation points, and work in a forked child. wake_by_ref allocates nothing and is
 * async-signal-safe if the waker inside is. (Two exceptions: for a finding, but not for one of wake_by_ref, glibc is
 * asked for the names of functions, which takes its loader's lock; and where its unwinder takes a lock, before 2.35 and in static
 * programs, one thread at a time asks it for a stack, others and forked children go without.)
 *
 *   rule                    found
 *   double_drop             a reference was woken or dropped that had been consumed already
 *   use_after_drop          a reference was cloned or woken by reference that had been consumed, or was being consumed meanwhile
 *   borrowed_consumed       a context's waker was woken or dropped by value
 *   use_after_poll          a context's waker was used after the poll that it was lent for
 *   slot_under_lock         a slot was called by a thread that holds a lock it has told the auditor of
 *   empty_clone             a clone slot gave a waker without a vtable
 *   pending_without_waker   a poll gave PENDING, kept no waker, and no wake came (a waker that it keeps from before counts if it
 *                           has the same two words, or descends from this poll's; one that Go's FromRaw or
 *                           rawwaker_audit_unwrap took counts as kept for good, for it is not seen any more)
 *   poll_after_ready        a future was polled that had given READY or PANICKED
 *   future_double_drop      a future was dropped twice
 *   slots_overlap           a future was polled or dropped while a poll of it was under way
 *   no_such_code            a poll gave none of the three codes
 *   result_too_large        a poll wrote behind *out (of rawwaker_audit_future_sized: what is behind is not hit, up to 2 KiB)
 *   null_out                a poll was given a NULL out for a result that has a size (the same)
 *   double_return           rawwaker_audit_return of a loan that was returned, or of what is no loan
 *   leak                    a reference is there, and the caller says that none should be (rawwaker_audit_leaks)
 *   forgotten               the same, of a clone that was never used at all
 *
 * A leak is found only by a call of rawwaker_audit_leaks or rawwaker_audit_abandoned: nothing looks at the program's end. What is
 * counted are references that were wrapped and their clones; a future that is never dropped is not reported, nor memory of any
 * other kind.
 *
 * A call that breaks a rule is not passed on: the program goes on as if it had not been made. (A drop during a poll is carried
 * out when the poll has returned.) An audited waker wakes the
 * same task as the one inside, but is equal to no other: rawwaker_will_wake is false of it and its clone.
 *
 *   gcc -std=c11 -g -rdynamic my.c rawwaker_audit.c rawwaker.c -pthread       w = rawwaker_audit(w);  ...  rawwaker_audit_leaks();
 *
 * Findings are printed as they are made. Frames of C are addresses, with names where -rdynamic gives them; addr2line -f -e PROGRAM
 * ADDRESS (of a position-independent program, the offset behind the +) says function and line. In Go: wakertest.Audit, or FFIWAKERDEBUG=audit=1 in the environment.
 * These names may change in any 0.x release and are not covered by RAWWAKER_ABI_VERSION.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef RAWWAKER_AUDIT_H
#define RAWWAKER_AUDIT_H

#include "rawwaker.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Wraps one reference.
 * takes w | gives a waker | threads any | signals no | fails: abort on a NULL vtable or out of memory */
RAWWAKER_API rawwaker rawwaker_audit(rawwaker w);

/* Wraps one that is lent: consuming it is reported, and it is no leak. It is over at rawwaker_audit_return.
 * takes - (borrows w) | gives a borrowed waker | threads any | signals no | fails: as rawwaker_audit */
RAWWAKER_API rawwaker rawwaker_audit_lend(const rawwaker *w);

/* Ends the loan: a later use is reported, and a second return.
 * takes what rawwaker_audit_lend gave | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_audit_return(const rawwaker *w);

/* Wraps a future, and with it the waker of each of its polls.
 * takes f | gives a future | threads any | signals no | fails: abort on a NULL vtable or out of memory */
RAWWAKER_API rawwaker_future rawwaker_audit_future(rawwaker_future f);

/* The same, of a future whose result has size bytes: a poll writes to memory with a canary behind it, and what it wrote is
 * copied to out when it returns. out must not be NULL then, unless size is 0.
 * takes f | gives a future | threads any | signals no | fails: abort on a NULL vtable or out of memory */
RAWWAKER_API rawwaker_future rawwaker_audit_future_sized(rawwaker_future f, size_t size);

/* Says that a poll of f will not return, because its frames were unwound, as by a panic of Go: it has ended without a code. So have the
 * polls of audited futures that it had called. Nothing where f is not audited, or not being polled.
 * takes - (borrows f) | gives - | threads the one that polled, if it is known | signals no | fails never */
RAWWAKER_API void rawwaker_audit_unwound(const rawwaker_future *f);

/* Whether w came from this file.
 * takes - (borrows w) | gives the answer | threads any | signals yes | fails never */
RAWWAKER_API bool rawwaker_is_audited(const rawwaker *w);

/* Says where this thread's next calls come from, beside the C stack: a text that lives as long as the process, or NULL.
 * takes - (borrows where) | gives what was said before | threads each its own | signals no | fails never */
RAWWAKER_API const char *rawwaker_audit_at(const char *where);

/* Takes the wrapping off: the reference is again the one inside. False: w is not audited, or was consumed, which is reported.
 * takes *w, where true | gives *w | threads any | signals no | fails never */
RAWWAKER_API bool rawwaker_audit_unwrap(rawwaker *w);

/* What is inside, to look at only; w itself where it is not audited.
 * takes - (borrows w) | gives a borrowed waker | threads any, while w is there | signals no | fails never */
RAWWAKER_API rawwaker rawwaker_audit_inner(const rawwaker *w);

/* Reports a leak of w: whoever owned it has lost it. It may be dropped after that.
 * takes - (borrows w) | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_audit_abandoned(const rawwaker *w);

/* This thread takes (1) or gives back (-1) a lock under which no slot may be called. Gives how many it holds then.
 * takes - | gives the count | threads each its own | signals no | fails never */
RAWWAKER_API int rawwaker_audit_lock(int change);

/* Reports each reference that is there now, once. Loans are none.
 * takes - | gives how many were reported | threads any | signals no | fails never */
RAWWAKER_API size_t rawwaker_audit_leaks(void);

/* How many references are there now that descend from w, or w from them.
 * takes - (borrows w) | gives the count | threads any, while w is there | signals no | fails never */
RAWWAKER_API size_t rawwaker_audit_count(const rawwaker *w);

/* How many audited references are there now.
 * takes - | gives the count | threads any | signals no | fails never */
RAWWAKER_API size_t rawwaker_audit_live(void);

/* Whether findings are printed on standard error as they are made: yes, unless said otherwise.
 * takes - | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_audit_print(bool on);

/* The oldest finding not taken yet: its rule, and a text of some lines that the caller frees. False: none. After the last comes, where
 * some were not kept, one of the rule findings_omitted, which says how many.
 * takes - | gives *rule (static), *text (from malloc) | threads any | signals no | fails never */
RAWWAKER_API bool rawwaker_audit_take(const char **rule, char **text);

/* How many findings were made since the start, those omitted included.
 * takes - | gives the count | threads any | signals yes | fails never */
RAWWAKER_API size_t rawwaker_audit_found(void);

/* What has happened to an audited waker or future. waker is the number of all that descends from one call of rawwaker_audit,
 * rawwaker_audit_lend or rawwaker_audit_future; reference and other are numbers in it, 0 where the event is of none. inner is what is inside
 * the reference, below all wrappings, to look at before the watcher returns; its vtable is NULL where there is none any more. */
typedef struct rawwaker_audit_event {
  const char *what;      /* "wake", "is cloned as", ...: as findings tell it; lives as long as the process */
  uint64_t waker, reference, other;
  rawwaker inner;
  size_t there;          /* references of this waker that are there, loans aside; one that is about to be consumed is counted */
} rawwaker_audit_event;

/* Has each event told as it happens: before the call goes on to what is inside, but for what comes of it, a clone, a wrapper, the end of a poll. On its
 * thread, at the same time as others, and in a signal handler if the program wakes from one: so watch is async-signal-safe, keeps errno,
 * blocks nowhere, is no cancellation point, and calls nothing of this file and no slot. NULL ends it; calls under way go on.
 * takes - | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_audit_watch(void (*watch)(const rawwaker_audit_event *event));

#ifdef __cplusplus
}
#endif

#endif /* RAWWAKER_AUDIT_H */
