/* chost.h - a program in C, as small as one can be that polls futures of any language: one thread, one loop, one waker.
 *
 *   gcc -std=c11 -c chost.c -I../.. && gcc ... chost.o ../../rawwaker.c -pthread
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CHOST_H
#define CHOST_H

#include "rawwaker.h"

/* Starts a thread whose loop polls f until it is not pending any more, sleeps in between until it is woken, and drops f.
 * takes f | gives what its last poll gave, when that has happened; EAGAIN's number, negative, where there is no thread */
int chost_run(rawwaker_future f, void *out);

/* Has so many threads wake w so many times each, by reference, and drops w when all are through.
 * takes w | gives - */
void chost_wake(rawwaker w, int threads, int times);

#endif
