/* chost.h - the smallest C program that polls futures of any language: one thread, one loop, one
 * waker. Build it in this folder:
 *
 *   gcc -std=c11 -I../.. -c chost.c && gcc ... chost.o ../../rawwaker.c -pthread
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef CHOST_H
#define CHOST_H

#include "rawwaker.h"

/* Starts a thread that polls f until it is no longer pending, sleeps between polls until it is
 * woken, and then drops f. It returns when that thread has ended.
 * takes f | gives the code of the last poll, or -EAGAIN if no thread can be started */
int chost_run(rawwaker_future f, void *out);

/* Wakes w by reference on the given number of threads, the given number of times on each, and then
 * drops w.
 * takes w | gives - */
void chost_wake(rawwaker w, int threads, int times);

#endif
