/* op.h - an asynchronous operation of C, as a future. op.c completes it on a thread of its own. */
#ifndef OP_H
#define OP_H

#include "rawwaker.h"

/* Starts the operation: after 100 ms its result, an int, is twice n. The two words of the future go
 * to words, as numbers, because a Go variable must not hold them as pointers. */
void op_start(int n, uintptr_t words[2]);

#endif
