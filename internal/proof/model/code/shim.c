/* shim.c - the runtime of -fsanitize=thread and what rawwaker.c asks of the system, all passed to
 * the model checker, which fills in code_ops. It is linked into one shared object with the code.
 *
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

enum { LOAD, STORE, EXCHANGE, ADD, SUB, AND, OR, XOR, NAND, COMPARE };

/* The same struct as Ops in src/shim.rs. */
struct code_ops {
  uint64_t (*atomic)(uintptr_t at, int what, uintptr_t address, size_t size, int order, int failed,
                     uint64_t operand, uint64_t expected);
  void (*plain)(uintptr_t at, uintptr_t address, size_t size, bool writes);
  void *(*alloc)(uintptr_t at, size_t size);
  void (*release)(uintptr_t at, void *p);
  void (*aborted)(void);
  void (*semaphore)(uintptr_t at, int what, void *s);
  int (*descriptor)(int what, int d, int to);
  int (*key)(int what, unsigned key, const void *value, void **got);
};

struct code_ops code_ops;

#define AT ((uintptr_t)__builtin_return_address(0))

/* ------------------------------------------------------------------------ plain accesses -- */

void __tsan_init(void) {}
void __tsan_func_entry(void *pc) { (void)pc; }
void __tsan_func_exit(void) {}

#define PLAIN(name, size, writes) \
  void __tsan_##name(void *p) { code_ops.plain(AT, (uintptr_t)p, size, writes); }
#define PLAINS(size)                          \
  PLAIN(read##size, size, false)              \
  PLAIN(write##size, size, true)              \
  PLAIN(unaligned_read##size, size, false)    \
  PLAIN(unaligned_write##size, size, true)    \
  PLAIN(volatile_read##size, size, false)     \
  PLAIN(volatile_write##size, size, true)
PLAINS(1)
PLAINS(2)
PLAINS(4)
PLAINS(8)
PLAINS(16)
void __tsan_read_range(void *p, size_t n) { code_ops.plain(AT, (uintptr_t)p, n, false); }
void __tsan_write_range(void *p, size_t n) { code_ops.plain(AT, (uintptr_t)p, n, true); }
void __tsan_vptr_update(void **p, void *v) { (void)p, (void)v; }

/* ----------------------------------------------------------------------- atomic accesses -- */

#define RMW(bits, type, name, what)                                                         \
  type __tsan_atomic##bits##_##name(volatile type *p, type v, int order) {                  \
    return (type)code_ops.atomic(AT, what, (uintptr_t)p, sizeof(type), order, 0, v, 0);     \
  }
#define COMPARED(bits, type, name)                                                          \
  bool __tsan_atomic##bits##_compare_exchange_##name(volatile type *p, type *expected,      \
                                                     type v, int order, int failed) {       \
    type was = *expected;                                                                   \
    type got = (type)code_ops.atomic(AT, COMPARE, (uintptr_t)p, sizeof(type), order,        \
                                     failed, v, was);                                       \
    if (got != was) *expected = got;                                                        \
    return got == was;                                                                      \
  }
#define ATOMICS(bits, type)                                                                 \
  type __tsan_atomic##bits##_load(const volatile type *p, int order) {                      \
    return (type)code_ops.atomic(AT, LOAD, (uintptr_t)p, sizeof(type), order, 0, 0, 0);     \
  }                                                                                         \
  void __tsan_atomic##bits##_store(volatile type *p, type v, int order) {                   \
    code_ops.atomic(AT, STORE, (uintptr_t)p, sizeof(type), order, 0, v, 0);                 \
  }                                                                                         \
  RMW(bits, type, exchange, EXCHANGE)                                                       \
  RMW(bits, type, fetch_add, ADD)                                                           \
  RMW(bits, type, fetch_sub, SUB)                                                           \
  RMW(bits, type, fetch_and, AND)                                                           \
  RMW(bits, type, fetch_or, OR)                                                             \
  RMW(bits, type, fetch_xor, XOR)                                                           \
  RMW(bits, type, fetch_nand, NAND)                                                         \
  COMPARED(bits, type, strong)                                                              \
  COMPARED(bits, type, weak)                                                                \
  type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type was, type v,       \
                                                  int order, int failed) {                  \
    return (type)code_ops.atomic(AT, COMPARE, (uintptr_t)p, sizeof(type), order, failed, v, \
                                 was);                                                      \
  }
ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

/* --------------------------------------------------------------------------------- memory -- */

void *code_malloc(size_t n) { return code_ops.alloc(AT, n); }
void *code_calloc(size_t n, size_t size) {
  void *p = code_ops.alloc(AT, n * size);
  code_ops.plain(AT, (uintptr_t)p, n * size, true);
  return memset(p, 0, n * size);
}
void code_free(void *p) {
  if (p != NULL) code_ops.release(AT, p);
}
void *code_memset(void *p, int c, size_t n) {
  code_ops.plain(AT, (uintptr_t)p, n, true);
  return memset(p, c, n);
}
void *code_memcpy(void *to, const void *from, size_t n) {
  code_ops.plain(AT, (uintptr_t)from, n, false);
  code_ops.plain(AT, (uintptr_t)to, n, true);
  return memcpy(to, from, n);
}
size_t code_strlen(const char *s) {
  code_ops.plain(AT, (uintptr_t)s, 1, false);
  size_t n = strlen(s);
  code_ops.plain(AT, (uintptr_t)s, n + 1, false);
  return n;
}
_Noreturn void code_abort(void) {
  code_ops.aborted();
  __builtin_unreachable();
}

/* -------------------------------------------------------------------------------- system -- */

enum { INIT, POST, WAIT, DESTROY };
int code_sem_init(sem_t *s, int shared, unsigned n) {
  (void)shared, (void)n;
  code_ops.semaphore(AT, INIT, s);
  return 0;
}
int code_sem_post(sem_t *s) { return code_ops.semaphore(AT, POST, s), 0; }
int code_sem_wait(sem_t *s) { return code_ops.semaphore(AT, WAIT, s), 0; }
int code_sem_destroy(sem_t *s) { return code_ops.semaphore(AT, DESTROY, s), 0; }

enum { OPEN, KICK, ACK, CLOSE, REPLACE };
int code_eventfd(unsigned n, int flags) {
  (void)n, (void)flags;
  return code_ops.descriptor(OPEN, 0, 0);
}
ssize_t code_write(int d, const void *p, size_t n) {
  (void)p;
  return code_ops.descriptor(KICK, d, 0), (ssize_t)n;
}
ssize_t code_read(int d, void *p, size_t n) {
  (void)p, (void)n;
  return code_ops.descriptor(ACK, d, 0) ? (ssize_t)sizeof(uint64_t) : (errno = EAGAIN, -1);
}
int code_close(int d) { return code_ops.descriptor(CLOSE, d, 0), 0; }
int code_dup3(int d, int to, int flags) {
  (void)flags;
  return code_ops.descriptor(REPLACE, d, to), to;
}

enum { CREATE, DELETE, GET, SET };
int code_pthread_key_create(pthread_key_t *key, void (*end)(void *)) {
  (void)end; /* always free */
  *key = (pthread_key_t)code_ops.key(CREATE, 0, NULL, NULL);
  return 0;
}
int code_pthread_key_delete(pthread_key_t key) { return code_ops.key(DELETE, key, NULL, NULL); }
void *code_pthread_getspecific(pthread_key_t key) {
  void *got;
  code_ops.key(GET, key, NULL, &got);
  return got;
}
int code_pthread_setspecific(pthread_key_t key, const void *v) {
  return code_ops.key(SET, key, v, NULL);
}
int code_pthread_setcancelstate(int state, int *old) {
  (void)state;
  *old = PTHREAD_CANCEL_ENABLE;
  return 0;
}
/* No time passes. */
int code_clock_gettime(clockid_t clock, struct timespec *t) {
  (void)clock;
  *t = (struct timespec){1, 0};
  return 0;
}
