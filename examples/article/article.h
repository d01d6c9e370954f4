/* article.h - the article's examples in C, for callers in other languages: the Go of this folder is one.
 *
 * Each function that takes an article_executor runs one example on it, to its end, and gives what it gave:
 * RAWWAKER_READY with *out, or RAWWAKER_PANICKED with rawwaker_last_panic. Threads any, signals no.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef ARTICLE_H
#define ARTICLE_H

#include "rawwaker.h"

/* rawwaker_block_on, or the article's own, which spins: that one takes f and drops it too. */
typedef rawwaker_poll article_executor(rawwaker_future f, void *out);
rawwaker_poll article_block_on(rawwaker_future f, void *out);

/* async fn simple() -> i32, as the state machine SimpleFuture. Always 42. */
rawwaker_poll article_simple(article_executor *block_on, int32_t *out);

/* SimpleFuture polled once more after it was ready: always RAWWAKER_PANICKED. */
rawwaker_poll article_simple_twice(article_executor *block_on, int32_t *out);

/* TimerFuture: a thread sleeps, then wakes. PANICKED where there is no thread to be had. */
rawwaker_poll article_timer(article_executor *block_on, uint64_t milliseconds);

/* The same as a future, which counts from now on and has no output.
 * takes - | gives a future | fails: abort out of memory */
rawwaker_future article_timer_future(uint64_t milliseconds);

/* async fn delay_and_return() -> i32, over the busy DelayFuture. Always 42. */
rawwaker_poll article_delay_and_return(article_executor *block_on, uint64_t milliseconds,
                                       int32_t *out);

/* CountdownFuture: calls println(to, "Poll #3") and so on down to 0, on this thread. */
typedef void article_println(void *to, const char *line);
rawwaker_poll article_countdown(article_executor *block_on, uint32_t count,
                                article_println *println, void *to);

#endif /* ARTICLE_H */
