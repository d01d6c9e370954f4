/* driver.c - runs programs from a seed, repeats one, makes a failing one smaller, and is the target
 * of libFuzzer (-DLIBFUZZER) and AFL++ (-DAFL).
 *
 *   hosts [-seed N] [-programs M] [-for SECONDS] [-lane NAME]    prints counts, or a listing
 *   hosts -file FILE                       runs the program in FILE
 *   hosts -shrink FILE [-lane NAME]        makes it smaller, and prints it, if it fails
 *   hosts -program HEX [-lane NAME]        the same for one that is written in hexadecimal
 *   hosts -emit FOLDER [-seed N]           writes some programs there, for a fuzzer to begin with
 *
 * The programs run in a child process, so that any end of it can be reported. In the environment:
 *   HOSTS_HANG     the seconds after which a program is taken to hang
 *   HOSTS_SHRINK   no: a failing program is left as it is
 *   HOSTS_STEPS    programs have operations at steps of the library
 *   HOSTS_THREADS  most programs have threads that run at once
 *   HOSTS_COUNTS   the file to which a fuzzer's target appends how many operations it has run */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "hosts.h"
#include "program.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BYTES = 1 + 4 * MOST, EVERY = 1000, HANG = 60, SHORT = 10 };

static atomic_ulong operations;
void count_operation(void) {
  atomic_fetch_add_explicit(&operations, 1, memory_order_relaxed);
}
unsigned hang_seconds(void) {
  const char *s = getenv("HOSTS_HANG");
  return s != NULL ? (unsigned)atoi(s) : HANG;
}
static const char *waited_for; /* at the end of the program that runs */
void wait_for_library(const char *what) {
  waited_for = what; /* the alarm ends it, if it never comes */
  sched_yield();
}

#if defined(LIBFUZZER) || defined(AFL)
_Noreturn void failed(void) {
  fflush(stderr);
  abort();
}
static void say_operations(void) {
  const char *to = getenv("HOSTS_COUNTS");
  FILE *f = to == NULL ? NULL : fopen(to, "a");
  if (f == NULL) return;
  fprintf(f, "%lu\n", (unsigned long)operations);
  fclose(f);
}
#endif
#if defined(LIBFUZZER)
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  run_program(data, size);
  return 0;
}
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc, (void)argv;
  atexit(say_operations);
  return 0;
}
#elif defined(AFL)
__AFL_FUZZ_INIT();
int main(void) {
  const unsigned char *data = __AFL_FUZZ_TESTCASE_BUF;
  while (__AFL_LOOP(10000)) run_program(data, (size_t)__AFL_FUZZ_TESTCASE_LEN);
  say_operations();
  return 0;
}
#else

/* What the child tells its parent, in memory that both map. */
typedef struct state {
  uint64_t seed; /* of the program that runs */
  unsigned long programs, operations;
  uint32_t size;
  uint8_t bytes[MOST_BYTES];
} state;
static state *shared;

_Noreturn void failed(void) {
  fflush(stderr);
  _exit(FAILED);
}
static void on_alarm(int number) {
  (void)number;
  const char *text[] = {"hosts: violation: ", waited_for, "\n"};
  if (waited_for == NULL) text[1] = "a call does not return, or a wait does not end";
  for (int i = 0; i < 3; i++)
    if (write(2, text[i], strlen(text[i])) < 0) break;
  _exit(FAILED);
}

/* ------------------------------------------------------------------------ random programs -- */

static uint64_t splitmix(uint64_t *s) {
  uint64_t z = (*s += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}
static uint8_t how_byte(unsigned how, unsigned who) {
  static uint8_t of[HOWS];
  if (of[AT_POLL] == 0)
    for (unsigned b = 255; b > 0; b--) of[how_of((uint8_t)b)] = (uint8_t)(b & 0xfc);
  return (uint8_t)((how == PLAIN ? 0 : of[how]) | who);
}

/* What belongs together: operations, kinds of works, places, and with what a program may begin. */
#define LIST(...) {__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__})
static const struct theme {
  uint8_t codes[14], ncodes, kinds[4], nkinds, places[5], nplaces, begin[6], nbegin;
} themes[] = {
    {LIST(op_spawn, op_tick_all, op_tick, op_complete, op_executor_drop, op_wake_by_ref, op_wake),
     LIST(GATE, ONESHOT), LIST(AT_WRITE, AT_HOOK, AT_CLOSE),
     LIST(op_spawn, op_tick_all)},
    {LIST(op_spawn, op_tick_n, op_tick_for, op_tick, op_complete, op_abort, op_tasks),
     LIST(GATE, AT_ONCE, JOB, SLEEP), LIST(AT_POLL, AT_DONE, AT_DROP),
     LIST(op_spawn, op_spawn, op_tick_all)},
    {LIST(op_send, op_poll, op_hand_drop, op_hand_drop, op_send, op_spawn, op_tick_all, op_abort,
          op_executor_drop, op_sender_drop, op_sender_clone),
     LIST(ROOM, RECV), LIST(AT_CLONE, AT_TOKEN_WAKE, AT_WRITE),
     LIST(op_send, op_send, op_poll, op_poll, op_poll, op_poll)},
    {LIST(op_target, op_cell_register, op_cell_wake, op_cell_take, op_clone, op_wake, op_drop,
          op_garbage, op_loan, op_overrun),
     LIST(GATE), LIST(AT_CLONE, AT_TOKEN_WAKE, AT_TOKEN_DROP, AT_FN),
     LIST(op_target, op_target)},
    {LIST(op_spawn, op_tick_all, op_queue_run, op_complete, op_queue_end, op_push, op_take,
          op_executor_drop, op_poll, op_hand_drop),
     LIST(JOB), LIST(AT_SUBMIT, AT_CANCEL, AT_RELEASE, AT_WRITE, AT_READ),
     LIST(op_spawn, op_tick_all)},
    {LIST(op_poll, op_complete, op_hand_drop, op_cancel, op_block_on), LIST(ONESHOT, GATE, RECV),
     LIST(AT_CLONE, AT_START, AT_CANCEL, AT_DESTROY, AT_TOKEN_WAKE),
     LIST(op_poll, op_poll)},
    {LIST(op_spawn, op_tick_all, op_executor_drop, op_misuse, op_forget, op_handle, op_on_wake),
     LIST(GATE, SLEEP, TIMEOUT, AT_ONCE), LIST(AT_POLL, AT_DONE, AT_DROP, AT_HOOK_DROP),
     LIST(op_on_wake, op_spawn)},
};
enum { THEMES = sizeof themes / sizeof *themes };

/* A program from a seed. Each uses few operations, places and objects, so that they meet: those of
 * a theme, or any. */
static size_t generate(uint64_t seed, uint8_t *to) {
  uint64_t s = seed * 2654435761u + 12345;
#define PICK(n) ((unsigned)(splitmix(&s) % (n)))
  unsigned n = 2 + PICK(PICK(4) == 0 ? 40 : 14), codes = 3 + PICK(8), kinds = 1 + PICK(3);
  unsigned nplaces = PICK(4), works = 1 + PICK(PICK(2) ? 4 : 8), strange = PICK(24);
  uint8_t code[16], kind[4], place[5], script = PICK(4) == 0 ? 0xff : (uint8_t)(1 << PICK(8));
  bool any = PICK(3) == 0;
  const struct theme *t = &themes[PICK(THEMES)];
  for (unsigned i = 0; i < codes; i++)
    code[i] = any || PICK(12) == 0 ? (uint8_t)PICK(OPS) : t->codes[PICK(t->ncodes)];
  for (unsigned i = 0; i < kinds; i++)
    kind[i] = any || PICK(12) == 0 ? (uint8_t)PICK(KINDS) : t->kinds[PICK(t->nkinds)];
  for (unsigned i = 0; i < nplaces; i++)
    place[i] = any || PICK(6) == 0 ? (uint8_t)(1 + PICK(PLACES_END - 1))
                                   : t->places[PICK(t->nplaces)];
  unsigned threads = PICK(8);
  bool stepped = getenv("HOSTS_STEPS") != NULL && PICK(4) != 0;
  uint8_t mode = threads == 0 ? TOGETHER : threads == 1 ? TURNS : ONE;
  if (getenv("HOSTS_THREADS") != NULL && PICK(4) != 0) mode = TOGETHER;
  mode |= (uint8_t)((PICK(2) ? HOOKED : 0) | (PICK(5) == 0 ? EARLY : 0));
  mode |= (uint8_t)((PICK(3) ? AUDITED : 0) | (PICK(2) ? WIDE : 0) | PICK(4) << 6);
  to[0] = mode;
  uint8_t kind_of_work[8];
  if (kinds == 0) return 1; /* it is not, which the analyzer does not know */
  for (unsigned i = 0; i < 8; i++) kind_of_work[i] = kind[PICK(kinds)];
  unsigned next = 0, executors = PICK(3) == 0 ? 1 : 0, channels = PICK(3) == 0 ? 64 : 0;
  unsigned begins = any || PICK(2) == 0 ? 0 : t->nbegin;
  for (unsigned i = 0; i < n; i++) {
    uint8_t *b = to + 1 + 4 * i;
    unsigned how = PLAIN;
    if (i < begins) how = PLAIN;
    else if (stepped && PICK(3) == 0) how = AT_STEP;
    else if (nplaces != 0 && PICK(4) == 0) how = place[PICK(nplaces)];
    else if (PICK((mode & 3) == TOGETHER ? 12 : 40) == 0) how = SIGNALLED;
    else if (strange == 0 && PICK(5) == 0) how = CANCELLED;
    else if (strange == 1 && PICK(5) == 0) how = EXITS;
    else if (strange == 2 && PICK(8) == 0) how = FORKED;
    b[0] = i < begins ? t->begin[i] : code[PICK(codes)];
    b[1] = how_byte(how, PICK(THREADS));
    bool makes = b[0] == op_spawn || b[0] == op_poll || b[0] == op_block_on;
    uint8_t rest = makes ? script : b[0] >= op_complete && b[0] < op_send && PICK(2) ? 0xff : 0;
    b[2] = (uint8_t)(splitmix(&s) & (rest | executors));
    unsigned work = PICK(works);
    if (makes && (i < begins || PICK(2) == 0))
      work = next++ % works; /* one that there is not yet, at first */
    unsigned is = PICK(8) == 0 ? kind[PICK(kinds)] : kind_of_work[work];
    b[3] = (uint8_t)(is * 8 + work + (splitmix(&s) & channels));
    if (how == AT_STEP && !makes) { /* how many steps */
      b[2] |= (uint8_t)(splitmix(&s) & 0xf8);
      b[3] |= (uint8_t)(splitmix(&s) & 0x18);
    }
  }
  return 1 + 4 * n;
}

/* ------------------------------------------------------------------------------ the child -- */

static int descriptors(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/fd");
  if (d == NULL) return -1;
  while (readdir(d) != NULL) n++;
  closedir(d);
  return n;
}
static int threads_now(void) {
  int n = 0;
  DIR *d = opendir("/proc/self/task");
  if (d == NULL) return -1;
  while (readdir(d) != NULL) n++;
  closedir(d);
  return n - sacrificed;
}
static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
static int child(uint64_t seed, unsigned long programs, double most) {
  signal(SIGALRM, on_alarm);
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  double from = seconds();
  int open_before = -1, threads_before = -1;
#if defined(COUNTS_HEAP)
  size_t heap_before = 0;
#endif
  for (unsigned long i = 0; i < programs; i++) {
    if (i % 16 == 0 && most > 0 && seconds() - from >= most) break;
    shared->seed = seed + i;
    shared->size = (uint32_t)generate(seed + i, shared->bytes);
    waited_for = NULL;
    alarm(hang_seconds());
    run_program(shared->bytes, shared->size);
    shared->programs = i + 1;
    shared->operations = operations;
    if (i % EVERY != EVERY - 1) continue;
    int open_now = descriptors(), threads = threads_now();
    if (open_before >= 0 && open_now > open_before)
      fail("%d descriptors are open, and %d were, %d programs ago", open_now, open_before, EVERY);
    /* A Go runtime starts threads when it needs them, and keeps them. */
    if (threads_before >= 0 && threads > threads_before + 16)
      fail("there are %d threads, and were %d", threads, threads_before);
#if defined(COUNTS_HEAP)
    size_t heap = mallinfo2().uordblks;
    if (heap_before == 0) heap_before = heap;
    if (heap > heap_before + 65536)
      fail("%zu bytes are allocated, and %zu were", heap, heap_before);
#endif
    if (open_before < 0) open_before = open_now, threads_before = threads;
  }
  alarm(0);
  return 0;
}

/* ----------------------------------------------------------------------------- the parent -- */

extern char **environ;
static char self[4096], state_path[64];

/* Runs this program with the arguments in a child. Returns its status; quiet is for attempts. */
static int spawn(char *const argv[], bool quiet, unsigned hang) {
  char text[32];
  if (hang != 0) {
    snprintf(text, sizeof text, "%u", hang);
    setenv("HOSTS_HANG", text, 1);
  }
  fflush(NULL);
  pid_t id;
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  if (quiet) {
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
  }
  int error = posix_spawn(&id, self, &actions, NULL, argv, environ), status;
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) {
    fprintf(stderr, "hosts: %s: %s\n", self, strerror(error));
    exit(2);
  }
  while (waitpid(id, &status, 0) < 0) {
  }
  return status;
}

static void save(const char *file, const uint8_t *bytes, size_t size) {
  FILE *f = fopen(file, "wb");
  if (f == NULL || fwrite(bytes, 1, size, f) != size || fclose(f) != 0) {
    perror(file);
    exit(2);
  }
}
static size_t load(const char *file, uint8_t *bytes) {
  FILE *f = fopen(file, "rb");
  if (f == NULL) {
    perror(file);
    exit(2);
  }
  size_t size = fread(bytes, 1, MOST_BYTES, f);
  fclose(f);
  return size;
}

/* Whether a program fails. One with threads at once is tried several times. */
static bool fails(const uint8_t *bytes, size_t size, bool quiet) {
  char file[80];
  snprintf(file, sizeof file, "%s.try", state_path);
  save(file, bytes, size);
  int tries = (bytes[0] & 3) == TOGETHER ? 20 : 1;
  bool failing = false;
  for (int i = 0; i < tries && !failing; i++)
    failing = spawn((char *[]){self, "-file", file, NULL}, quiet,
                    quiet && hang_seconds() > SHORT ? SHORT : 0) != 0;
  unlink(file);
  return failing;
}
/* Removes operations, and then clears bytes, as long as the program still fails. */
static size_t shrink(uint8_t *bytes, size_t size) {
  uint8_t next[MOST_BYTES];
  double from = seconds();
  enum { PATIENCE = 90 };
  bool smaller = true;
  while (smaller) {
    smaller = false;
    size_t n = (size - 1) / 4;
    for (size_t many = n / 2 > 0 ? n / 2 : 1; many > 0; many /= 2)
      for (size_t at = 0; at + many <= (size - 1) / 4 && seconds() - from < PATIENCE;) {
        memcpy(next, bytes, 1 + 4 * at);
        memcpy(next + 1 + 4 * at, bytes + 1 + 4 * (at + many), size - 1 - 4 * (at + many));
        if (fails(next, size - 4 * many, true)) {
          size -= 4 * many;
          memcpy(bytes, next, size);
          smaller = true;
        } else {
          at++;
        }
      }
    for (size_t at = 0; at < size && seconds() - from < PATIENCE; at++) {
      static const uint8_t masks[] = {0, 3, 7, 0x1f};
      for (size_t m = 0; m < sizeof masks; m++) {
        memcpy(next, bytes, size);
        next[at] &= masks[m];
        if ((at - 1) % 4 == 0 && at != 0) break; /* the operation itself */
        if (next[at] == bytes[at] || !fails(next, size, true)) continue;
        bytes[at] = next[at];
        break;
      }
    }
    if (seconds() - from >= PATIENCE) break;
  }
  return size;
}
static void print_bytes(const uint8_t *bytes, size_t size) {
  program p;
  program_read(&p, bytes, size);
  program_print(stderr, &p);
}

/* Makes a program smaller if it fails, and prints it. Returns the exit status. */
static int report(const uint8_t *found, size_t size, const char *lane) {
  uint8_t bytes[MOST_BYTES];
  const char *no = getenv("HOSTS_SHRINK");
  memcpy(bytes, found, size);
  if (size == 0) return 1;
  bool failing = fails(bytes, size, true);
  if (failing && (no == NULL || strcmp(no, "no") != 0)) size = shrink(bytes, size);
  fprintf(stderr, "hosts: %s:\n",
          failing ? "the smallest program that fails" : "repeated alone, the program passes");
  print_bytes(bytes, size);
  fprintf(stderr, "hosts: repeat it with: internal/proof/hosts/run -program ");
  for (size_t i = 0; i < size; i++) fprintf(stderr, "%02x", bytes[i]);
  fprintf(stderr, " %s\n", lane);
  if (failing) fails(bytes, size, false);
  return failing;
}
static size_t from_hex(const char *text, uint8_t *bytes) {
  size_t n = 0;
  for (unsigned b; n < MOST_BYTES && sscanf(text + 2 * n, "%2x", &b) == 1; n++)
    bytes[n] = (uint8_t)b;
  return n;
}
static int emit(const char *folder, uint64_t seed) {
  enum { MANY = 300 };
  for (unsigned i = 0; i < MANY; i++) {
    char name[4096];
    uint8_t bytes[MOST_BYTES];
    snprintf(name, sizeof name, "%s/%u", folder, i);
    save(name, bytes, generate(seed + i, bytes));
  }
  return 0;
}

int main(int argc, char **argv) {
  uint64_t seed = (uint64_t)time(NULL) * 1000003;
  unsigned long programs = 0;
  double most = 0;
  const char *file = NULL, *lane = "", *what = "";
  for (int i = 1; i < argc; i++) {
    const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
    if (strcmp(a, "-seed") == 0) seed = strtoull(v, NULL, 10);
    else if (strcmp(a, "-programs") == 0) programs = strtoul(v, NULL, 10);
    else if (strcmp(a, "-for") == 0) most = atof(v);
    else if (strcmp(a, "-lane") == 0) lane = v;
    else if (strcmp(a, "-file") == 0 || strcmp(a, "-shrink") == 0 || strcmp(a, "-child") == 0 ||
             strcmp(a, "-program") == 0 || strcmp(a, "-emit") == 0)
      file = v, what = a;
    else {
      fprintf(stderr, "hosts: unknown argument %s\n", a);
      return 2;
    }
    i++;
  }
  if (programs == 0) programs = most > 0 ? ~0ul : 1000;
  if (strcmp(what, "-child") == 0) {
    int fd = open(file, O_RDWR | O_CLOEXEC);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || shared == MAP_FAILED) return 2;
    close(fd);
    return child(seed, programs, most);
  }
  static state there; /* of this process */
  shared = &there;
  if (strcmp(what, "-file") == 0) {
    signal(SIGALRM, on_alarm);
    alarm(hang_seconds());
    there.size = (uint32_t)load(file, there.bytes);
    run_program(there.bytes, there.size);
    return 0;
  }
  ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
  if (len < 0) return 2;
  snprintf(state_path, sizeof state_path, "/tmp/hosts-%ld", (long)getpid());
  if (strcmp(what, "-emit") == 0) return emit(file, seed);
  if (strcmp(what, "-shrink") == 0 || strcmp(what, "-program") == 0) {
    bool hex = what[1] == 'p';
    there.size = (uint32_t)(hex ? from_hex(file, there.bytes) : load(file, there.bytes));
  } else {
    int fd = open(state_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, sizeof *shared) != 0) return 2;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (shared == MAP_FAILED) return 2;
    close(fd);
    char s[32], m[32], f[32];
    snprintf(s, sizeof s, "%llu", (unsigned long long)seed);
    snprintf(m, sizeof m, "%lu", programs);
    snprintf(f, sizeof f, "%.3f", most);
    double from = seconds();
    int status = spawn((char *[]){self, "-child", state_path, "-seed", s, "-programs", m, "-for",
                                  f, NULL}, false, 0);
    unlink(state_path);
    if (status == 0) {
      double took = seconds() - from;
      printf("%s: %lu sequences, %lu operations, %.0f sequences a second, seed %s: 0 violations\n",
             lane, shared->programs, shared->operations, (double)shared->programs / took, s);
      return 0;
    }
    there = *shared;
    fprintf(stderr, "hosts: after %lu sequences the child ended with status 0x%x\n", there.programs,
            (unsigned)status);
    fprintf(stderr, "hosts: repeat it with: internal/proof/hosts/run -seed %llu -programs 1 %s\n",
            (unsigned long long)there.seed, lane);
  }
  int found = report(there.bytes, there.size, lane);
  return *what == '\0' ? 1 : found; /* a violation was seen, also if it does not come again */
}
#endif
