/* hosts.h - what the model of hosts.c and the drivers of driver.c have of each other. */
#ifndef HOSTS_H
#define HOSTS_H

#include <stddef.h>
#include <stdint.h>

enum { FAILED = 99 }; /* the exit status of a process that has found a violation */

/* Runs a program, and returns if nothing is wrong. */
void run_program(const uint8_t *data, size_t size);
/* Prints a violation, and ends the process. */
_Noreturn void fail(const char *what, ...) __attribute__((format(printf, 1, 2)));
extern int sacrificed; /* threads that were made to abort, and stay */

/* The driver's: ends the process after a violation; counts; waits for another thread. */
_Noreturn void failed(void);
void count_operation(void);
unsigned hang_seconds(void);
void wait_for_library(const char *what);

#endif
