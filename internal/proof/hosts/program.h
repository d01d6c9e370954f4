/* program.h - how bytes are a program of operations, for hosts.c, driver.c and the listing. */
#ifndef HOSTS_PROGRAM_H
#define HOSTS_PROGRAM_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum op_code {
#define OP(name, what, x, y) op_##name,
#include "operations.def"
#undef OP
  OPS
};

/* Where a user's code runs, or a system call of the library. */
#define PLACES(P)                                                                                \
  P(POLL, "the next poll of a work") P(DROP, "the next drop slot of a work")                      \
  P(DONE, "the next done") P(HOOK, "the next call of a hook")                                     \
  P(HOOK_DROP, "the next drop of a hook") P(FN, "the next wake of a rawwaker_from_fn")            \
  P(CLONE, "the next clone of a token") P(TOKEN_WAKE, "the next wake of a token")                 \
  P(TOKEN_DROP, "the next drop of a token") P(WRITE, "the library's next write()")                \
  P(READ, "the library's next read()") P(CLOSE, "the library's next close() or dup3()")           \
  P(START, "the next start") P(CANCEL, "the next cancel") P(DESTROY, "the next destroy")          \
  P(RELEASE, "the next release") P(SUBMIT, "the next submit")                                     \
  P(STEP, "the library, some steps later")

enum how {
  PLAIN,
#define P(name, what) AT_##name,
  PLACES(P)
#undef P
  PLACES_END,
  SIGNALLED = PLACES_END, /* in a signal handler of the thread */
  CANCELLED,              /* on a new thread that has a pthread_cancel pending */
  EXITS,                  /* on a new thread that exits after it */
  FORKED,                 /* in a forked child, which exits after it */
  HOWS
};

/* The first byte: bits 0 and 1 are the threads, the others are set or not. */
enum { ONE, ONE_TOO, TURNS, TOGETHER };
enum { HOOKED = 4, EARLY = 8, AUDITED = 16, WIDE = 32 };
enum { MOST = 64, THREADS = 4 };

typedef struct operation {
  uint8_t code, who, how, x, y;
} operation;

typedef struct program {
  uint8_t mode;
  size_t n;
  operation ops[MOST];
} program;

static inline uint8_t how_of(uint8_t byte) {
  enum { PLAINS = 24, LAST = 63 };
  unsigned h = byte >> 2;
  if (h < PLAINS) return PLAIN;
  if (h == LAST) return FORKED;
  if (h == LAST - 1) return EXITS;
  if (h >= LAST - 3) return CANCELLED;
  if (h == LAST - 4) return SIGNALLED;
  return (uint8_t)(1 + (h - PLAINS) % (PLACES_END - 1));
}

/* How many steps of the library are executed before an operation that was left for one: at most so
 * many as the last two bits of the mode stand for. */
static inline unsigned steps_of(const operation *o, unsigned mode) {
  static const unsigned most[] = {6, 14, 40, 128};
  return 1 + (o->x * 37u + o->y * 101u + o->who * 29u) % most[mode >> 6 & 3];
}

/* Any bytes are a program. Missing bytes are 0, and those after MOST operations are ignored. */
static inline void program_read(program *p, const uint8_t *data, size_t size) {
  p->mode = size > 0 ? data[0] : 0;
  p->n = 0;
  for (size_t at = 1; at < size && p->n < MOST; at += 4) {
    uint8_t b[4] = {0};
    memcpy(b, data + at, size - at < 4 ? size - at : 4);
    p->ops[p->n++] =
        (operation){(uint8_t)(b[0] % OPS), b[1] % THREADS, how_of(b[1]), b[2], b[3]};
  }
}

/* A work's kind and script, of spawn, block_on and poll. */
enum kind { GATE, ONESHOT, JOB, RECV, ROOM, SLEEP, TIMEOUT, AT_ONCE, KINDS };
static inline unsigned kind_of(const operation *o) { return o->y / 8 % KINDS; }
enum script { PANICS = 2, SELF = 4, DROP_POLLS = 8, NO_HANDLE = 16, NO_DONE = 32, KEEPS = 64,
              NULL_OUT = 128 };

void program_print(FILE *to, const program *p);

#endif
