/* article.h - the article's examples in C, for callers in other languages, such as this folder's
 * Go.
 *
 * Each function that takes an article_executor runs one example on it to completion and returns its
 * result: RAWWAKER_READY with *out, or RAWWAKER_PANICKED with rawwaker_last_panic. Call them on any
 * thread, but not in signal handlers.
 *
 * SPDX-License-Identifier: MIT */
#ifndef ARTICLE_H
#define ARTICLE_H

#include "rawwaker.h"

/* rawwaker_block_on, or the article's own executor, which spins. Both take f and drop it. */
typedef rawwaker_poll article_executor(rawwaker_future f, void *out);
rawwaker_poll article_block_on(rawwaker_future f, void *out);

/* async fn simple() -> i32, as the state machine SimpleFuture. Always 42. */
rawwaker_poll article_simple(article_executor *block_on, int32_t *out);

/* SimpleFuture, polled once more after it was ready. Always RAWWAKER_PANICKED. */
rawwaker_poll article_simple_twice(article_executor *block_on, int32_t *out);

/* TimerFuture: a thread sleeps, then wakes. RAWWAKER_PANICKED if no thread can be started. */
rawwaker_poll article_timer(article_executor *block_on, uint64_t milliseconds);

/* Returns the TimerFuture itself. Its time begins now, and it has no output.
 * takes - | gives a future | fails: abort out of memory */
rawwaker_future article_timer_future(uint64_t milliseconds);

/* async fn delay_and_return() -> i32, with DelayFuture, which wakes itself. Always 42. */
rawwaker_poll article_delay_and_return(article_executor *block_on, uint64_t milliseconds,
                                       int32_t *out);

/* CountdownFuture: calls println(to, line) in each poll, on the calling thread. */
typedef void article_println(void *to, const char *line);
rawwaker_poll article_countdown(article_executor *block_on, uint32_t count,
                                article_println *println, void *to);

#endif /* ARTICLE_H */
