/* program.c - the listing of a program. */
#include "program.h"

static const struct {
  const char *what;
  int x, y;
} table[] = {
#define OP(name, what, x, y) {what, x, y},
#include "operations.def"
#undef OP
};
static const char *const hows[] = {
    "",
#define P(name, what) "in " what,
    PLACES(P)
#undef P
    "in a signal handler, of another thread if they run at once",
    "on a thread with a cancel pending",
    "on a thread that exits then",
    "in a forked child"};
static const char *const kinds[] = {"gate",  "oneshot", "job",     "receiver",
                                    "room",  "sleep",   "timeout", "ready at once"};
static const struct {
  int bit;
  const char *name;
} scripts[] = {{PANICS, "panics"},       {SELF, "wakes itself"}, {DROP_POLLS, "its drop polls"},
               {NO_HANDLE, "no handle"}, {NO_DONE, "no done"},   {KEEPS, "keeps its waker in own"},
               {NULL_OUT, "out is NULL"}};

static void print_operation(FILE *to, const operation *o, unsigned mode) {
  unsigned threads = mode & 3;
  char line[160];
  /* Both operands are always given: a format may print them in the other order. */
  int x = o->x % table[o->code].x, y = o->y % table[o->code].y;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
  snprintf(line, sizeof line, table[o->code].what, x, y);
#pragma GCC diagnostic pop
  fprintf(to, "  %s;", line);
  const char *sep = "  // ";
  if (threads == TURNS || threads == TOGETHER) {
    fprintf(to, "%sthread %d", sep, o->who);
    sep = ", ";
  }
  if (o->how != PLAIN) {
    fprintf(to, "%s%s", sep, hows[o->how]);
    sep = ", ";
  }
  if (o->how == AT_STEP) fprintf(to, ": %u", steps_of(o, mode));
  if (o->code == op_spawn || o->code == op_block_on || o->code == op_poll) {
    fprintf(to, "%sa %s", sep, kinds[kind_of(o)]);
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
      if (o->x & scripts[i].bit) fprintf(to, ", %s", scripts[i].name);
  }
  fputc('\n', to);
}

void program_print(FILE *to, const program *p) {
  static const char *const modes[] = {"one thread", "one thread", "4 threads, by turns",
                                      "4 threads at once"};
  fprintf(to, "  // %s%s%s%s%s\n", modes[p->mode & 3], p->mode & HOOKED ? ", ex[0] has a hook" : "",
          p->mode & EARLY ? ", what is left is not driven to its end" : "",
          p->mode & WIDE ? ", channel[0] has two places" : "",
          p->mode & AUDITED ? ", audited if the lane has the auditor" : "");
  for (size_t i = 0; i < p->n; i++) print_operation(to, &p->ops[i], p->mode);
}
