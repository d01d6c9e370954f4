/* rawwaker_audit.h - wraps a waker, a future or a stream and reports which rule of rawwaker.h's
 * contract is broken: on which thread, from where, and what happened before.
 *
 * For tests and for debugging. Each reference has a record of its own. The last 65,536 records of
 * consumed references are kept, so that a second use is distinguished from the use of a new waker.
 * The memory of records is reused and never freed: it grows to as many as existed at once. Of the
 * findings that are not taken, the first 512 are kept and the rest counted.
 *
 * The slots of an audited waker may be called wherever those of the waker inside may: they take no
 * lock, wait for no other thread, keep errno, are not cancellation points, and work in a forked
 * child. wake_by_ref allocates nothing and is async-signal-safe if the waker inside is. There are
 * two exceptions. For each finding except those of wake_by_ref, glibc is asked for the names of
 * functions, which takes its loader's lock. And if glibc's unwinder takes a lock (before 2.35, and
 * in static programs), only one thread at a time asks it for a stack; other threads and forked
 * children do without.
 *
 *   rule                    reported if
 *   double_drop             a reference was woken or dropped after it had been consumed
 *   use_after_drop          a reference was cloned or woken by reference after it had been
 *                           consumed, or while it was being consumed
 *   borrowed_consumed       a context's waker was woken or dropped by value
 *   use_after_poll          a context's waker was used after the poll that borrowed it
 *   slot_under_lock         a slot was called by a thread that holds a lock, by its count of
 *                           rawwaker_audit_lock
 *   empty_clone             a clone slot returned a waker without a vtable
 *   pending_without_waker   a poll returned PENDING, kept no waker, and no wake came. A waker that
 *                           it keeps from before counts if it has the same two words, or descends
 *                           from this poll's. One that Go's FromRaw or rawwaker_audit_unwrap took
 *                           counts as kept permanently, because it cannot be observed any more.
 *   poll_after_ready        a future was polled after it had returned READY or PANICKED, a stream
 *                           after PANICKED, or either after it had been dropped
 *   done_is_repeated        a stream returned another code than DONE after it had returned DONE
 *   future_double_drop      a future or stream was dropped twice
 *   slots_overlap           a future or stream was polled or dropped while a poll of it was in
 *                           progress
 *   no_such_code            a poll returned none of the three codes, or poll_next none of the four
 *   result_too_large        a poll wrote beyond *out (only for rawwaker_audit_future_sized and
 *                           rawwaker_audit_stream_sized, which protect up to 2 KiB beyond it)
 *   null_out                a poll was given a NULL out for a result or item that has a size (also
 *                           only for those two)
 *   double_return           rawwaker_audit_return was called for a loan that had been returned, or
 *                           for a waker that is not a loan
 *   sender_use_after        the sender of a oneshot or channel was used after send, fail or drop.
 *                           The process then aborts with one line, because the sender is freed
 *   sender_forgotten        a sender exists when rawwaker_audit_leaks is called
 *   sender_in_signal        a sender was used in a signal handler. The call is made all the same.
 *                           It is found with glibc 2.35 or later, in programs that are not static
 *   leak                    a reference exists when rawwaker_audit_leaks is called, or its owner
 *                           has lost it (rawwaker_audit_abandoned)
 *   forgotten               the same, for a clone that was never used
 *
 * A leak is found only by a call of rawwaker_audit_leaks or rawwaker_audit_abandoned: nothing
 * checks at the end of the program. Only references that were wrapped and their clones are counted;
 * a future or stream that is never dropped is not reported, nor is memory of any other kind. The
 * rules of senders are checked after rawwaker_audit_senders only, for senders that are made after
 * it. The records of the last 16,384 that were taken are kept.
 *
 * A call that breaks a rule is not passed on: the program continues as if it had not been made. (A
 * drop during a poll is carried out when the poll has returned.) An audited waker wakes the same
 * task as the waker inside, but equals no other: rawwaker_will_wake returns false for it and its
 * clone.
 *
 *   gcc -std=c11 -g -rdynamic my.c rawwaker_audit.c rawwaker.c -pthread
 *   w = rawwaker_audit(w);  ...  rawwaker_audit_leaks();
 *
 * Findings are printed as they are made. Frames of C are addresses, with names if the program was
 * linked with -rdynamic. addr2line -f -e PROGRAM ADDRESS prints function and line; for a
 * position-independent program, ADDRESS is the offset after the +. In Go, use wakertest.Audit, or
 * set FFIWAKERDEBUG=audit=1 in the environment. The names below may change in any 0.x release and
 * are not covered by RAWWAKER_ABI_VERSION.
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
 * takes w | gives a waker | threads any | signals no
 * | fails: abort on a NULL vtable or out of memory */
RAWWAKER_API rawwaker rawwaker_audit(rawwaker w);

/* Wraps a borrowed waker until rawwaker_audit_return. Consuming the result is reported, and it
 * never counts as a leak.
 * takes - (borrows w) | gives a borrowed waker | threads any | signals no
 * | fails: as rawwaker_audit */
RAWWAKER_API rawwaker rawwaker_audit_lend(const rawwaker *w);

/* Ends the loan. A later use is reported, and so is a second return.
 * takes what rawwaker_audit_lend gave | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_audit_return(const rawwaker *w);

/* Wraps a future, and the waker of each of its polls.
 * takes f | gives a future | threads any | signals no
 * | fails: abort on a NULL vtable or out of memory */
RAWWAKER_API rawwaker_future rawwaker_audit_future(rawwaker_future f);

/* Wraps a future whose result has size bytes, and the waker of each of its polls. A poll writes to
 * memory with a canary behind it, and the result is copied to out when the poll returns. out must
 * not be NULL unless size is 0.
 * takes f | gives a future | threads any | signals no
 * | fails: abort on a NULL vtable or out of memory */
RAWWAKER_API rawwaker_future rawwaker_audit_future_sized(rawwaker_future f, size_t size);

/* Wraps a stream, and the waker of each of its polls.
 * takes s | gives a stream | threads any | signals no
 * | fails: abort on a NULL vtable or out of memory */
RAWWAKER_API rawwaker_stream rawwaker_audit_stream(rawwaker_stream s);

/* The same for a stream whose items have size bytes, as rawwaker_audit_future_sized does for a
 * result.
 * takes s | gives a stream | threads any | signals no
 * | fails: abort on a NULL vtable or out of memory */
RAWWAKER_API rawwaker_stream rawwaker_audit_stream_sized(rawwaker_stream s, size_t size);

/* Ends the poll of f in progress, which will not return because its frames were unwound, for
 * example by a panic in Go. It ends without a code, and so do the polls of audited futures and
 * streams that it had called. Does nothing if f is not audited or no poll of it is in progress.
 * takes - (borrows f) | gives - | threads the one that polled, if it is known | signals no
 * | fails never */
RAWWAKER_API void rawwaker_audit_unwound(const rawwaker_future *f);

/* The same for a stream.
 * takes - (borrows s) | gives - | threads the one that polled, if it is known | signals no
 * | fails never */
RAWWAKER_API void rawwaker_audit_stream_unwound(const rawwaker_stream *s);

/* Whether w is an audited waker.
 * takes - (borrows w) | gives the answer | threads any | signals yes | fails never */
RAWWAKER_API bool rawwaker_is_audited(const rawwaker *w);

/* Sets where this thread's next calls come from, for findings to show beside the C stack: a text
 * that lives as long as the process, or NULL.
 * takes - (borrows where) | gives the previous text | threads each its own | signals no
 * | fails never */
RAWWAKER_API const char *rawwaker_audit_at(const char *where);

/* Removes the wrapping: *w is then the reference inside. Returns false if w is not audited, or was
 * consumed, which is reported.
 * takes *w, if true | gives *w | threads any | signals no | fails never */
RAWWAKER_API bool rawwaker_audit_unwrap(rawwaker *w);

/* Returns the waker inside, for inspection only; w itself if it is not audited.
 * takes - (borrows w) | gives a borrowed waker | threads any, while w exists | signals no
 * | fails never */
RAWWAKER_API rawwaker rawwaker_audit_inner(const rawwaker *w);

/* Reports a leak of w: its owner has lost it. w may be dropped afterwards.
 * takes - (borrows w) | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_audit_abandoned(const rawwaker *w);

/* Adds change to the number of locks that this thread holds and under which no slot may be called:
 * 1 when it takes one, -1 when it releases one. Returns that number.
 * takes - | gives the count | threads each its own | signals no | fails never */
RAWWAKER_API int rawwaker_audit_lock(int change);

/* Watches the senders of oneshots and channels that are made from now on (rawwaker_watch). Calling
 * it again changes nothing. What the maker of a sender is given is then another pointer, which only
 * the calls of senders understand.
 * takes - | gives - | threads any | signals no | fails: abort out of memory */
RAWWAKER_API void rawwaker_audit_senders(void);

/* Reports each reference and each sender that exists now, once. Loans are not counted.
 * takes - | gives how many were reported | threads any | signals no | fails never */
RAWWAKER_API size_t rawwaker_audit_leaks(void);

/* How many references exist now that descend from the same call of rawwaker_audit,
 * rawwaker_audit_lend, rawwaker_audit_future or rawwaker_audit_stream as w.
 * takes - (borrows w) | gives the count | threads any, while w exists | signals no | fails never */
RAWWAKER_API size_t rawwaker_audit_count(const rawwaker *w);

/* How many audited references exist now.
 * takes - | gives the count | threads any | signals no | fails never */
RAWWAKER_API size_t rawwaker_audit_live(void);

/* Sets whether findings are printed on standard error as they are made. The default is true.
 * takes - | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_audit_print(bool on);

/* Takes the oldest finding that was not taken yet: its rule, and a text of some lines. Returns
 * false if there is none. If some findings were not kept, the last one taken has the rule
 * findings_omitted and a text that counts them. Free the text.
 * takes - | gives *rule (static), *text (from malloc) | threads any | signals no | fails never */
RAWWAKER_API bool rawwaker_audit_take(const char **rule, char **text);

/* How many findings were made since the start, including those omitted.
 * takes - | gives the count | threads any | signals yes | fails never */
RAWWAKER_API size_t rawwaker_audit_found(void);

/* What has happened to an audited waker, future or stream. */
typedef struct rawwaker_audit_event {
  /* "wake", "is cloned as", ...: the words of findings. The text lives as long as the process. */
  const char *what;
  /* The number of all that descends from one call of rawwaker_audit, rawwaker_audit_lend,
   * rawwaker_audit_future or rawwaker_audit_stream; and numbers of references in it, 0 if the event
   * has none. */
  uint64_t waker, reference, other;
  /* The waker inside the reference, below all wrappings, for inspection until the watcher returns.
   * Its vtable is NULL if there is none any more. */
  rawwaker inner;
  /* How many references of this waker exist, without loans. One that is about to be consumed is
   * counted. */
  size_t there;
} rawwaker_audit_event;

/* Calls watch for each event as it happens. Calls are reported before they are forwarded; results
 * (a clone, a wrapper, the end of a poll) after. watch runs on the event's thread, on several
 * threads at once, and in a signal handler if the program wakes from one. So it must be
 * async-signal-safe, keep errno, not block, not be a cancellation point, and call no slot and
 * nothing of this file. NULL ends the watching; calls of watch in progress continue.
 * takes - | gives - | threads any | signals no | fails never */
RAWWAKER_API void rawwaker_audit_watch(void (*watch)(const rawwaker_audit_event *event));

#ifdef __cplusplus
}
#endif

#endif /* RAWWAKER_AUDIT_H */
