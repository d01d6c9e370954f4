//go:build ignore

/* module.c - a Redis module whose blocking commands are answered by Go futures.
 * Build it in the folder above, and load it:
 *
 *   make redis && redis-server --loadmodule "$PWD/build/redis_module.so"
 *
 *   FFI.SLEEP ms [TIMEOUT ms]      waits, on one of Go's timers
 *   FFI.GET url [TIMEOUT ms]       makes an HTTP request by Go's net/http, and gives its body; it
 *                                  lets every client make requests from here
 *   FFI.GZIP key [TIMEOUT ms]      gives the key's string, compressed on a goroutine
 *   FFI.YIELD n [TIMEOUT ms]       wakes itself n times
 *   FFI.PANIC text [TIMEOUT ms]    panics in Go; the reply is an error with the text
 *   FFI.NOOP                       is ready at once
 *   FFI.NOOP.GO                    the same by a goroutine, without a future; for the bench
 *   FFI.STATS                      counts the calls
 *
 * Without TIMEOUT, or with 0, a call may take as long as it does.
 *
 * THREADS
 *
 * All of this file runs on Redis's main thread, but for unblock_go. Goroutines and timers only
 * wake; a wake makes the executor's descriptor readable, and the main thread polls the future.
 *
 * OWNERSHIP
 *
 * A call is one command of one client. It is made by the command and freed by free_call, which
 * Redis calls once for each UnblockClient. UnblockClient is called by done, and done is called
 * once for each task: with a result, after a panic, or after an abort. So no call is lost,
 * whichever comes first: the result, the timeout, or the client's end.
 */
#include "module.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "redismodule.h"

typedef struct call {
  LIST_ENTRY(call) link;
  RedisModuleBlockedClient *client;
  ffiwaker_task *task; /* until done */
  module_answer answer;
  char *panic; /* the text, if it has panicked */
} call;

/* The calls by the address of their client: Redis gives the two callbacks that abort a call this
 * address and nothing else. */
enum { BUCKETS = 1024 };
static LIST_HEAD(bucket, call) calls[BUCKETS];

static ffiwaker_executor *ex;
static bool due; /* the executor may have something to tick */
static struct { long long done, panicked, aborted, disconnected, timeouts; } count;

static struct bucket *bucket_of(RedisModuleBlockedClient *client) {
  return &calls[(uintptr_t)client / 64 % BUCKETS];
}

static call *call_of(RedisModuleBlockedClient *client) {
  call *c;
  LIST_FOREACH(c, bucket_of(client), link) if (c->client == client) return c;
  return NULL;
}

/* ----------------------------------------------------------------------------- the loop -- */

/* The most tasks to poll in a round of Redis's loop, so that many or busy tasks cannot keep it from
 * its other clients. */
enum { BUDGET = 64 };

/* A wake from another thread has made the descriptor readable, which has ended Redis's sleep. */
static void readable(int fd, void *arg, int mask) {
  (void)fd, (void)arg, (void)mask;
  due = true;
}

/* Redis calls this once in a round, after it has run the clients' commands and before it replies to
 * unblocked clients. So a call that is ready at its first poll is answered in the same round. If
 * the budget is used up, the descriptor stays readable, and Redis comes back without sleeping. */
static void before_sleep(RedisModuleCtx *ctx, RedisModuleEvent event, uint64_t what, void *data) {
  (void)ctx, (void)event, (void)data;
  if (what == REDISMODULE_SUBEVENT_EVENTLOOP_BEFORE_SLEEP && due)
    due = ffiwaker_executor_tick_n(ex, BUDGET) == BUDGET;
}

/* ------------------------------------------------------------------------------ a call -- */

/* Replies with a text of Go's. Redis replaces its line breaks. */
static int reply_error(RedisModuleCtx *ctx, const char *kind, const char *text) {
  RedisModuleString *line = RedisModule_CreateStringPrintf(ctx, "ERR %s%s", kind, text);
  RedisModule_ReplyWithError(ctx, RedisModule_StringPtrLen(line, NULL));
  RedisModule_FreeString(ctx, line);
  return REDISMODULE_OK;
}

/* Redis calls this after UnblockClient, unless the client is gone. */
static int reply(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  (void)argv, (void)argc;
  call *c = RedisModule_GetBlockedClientPrivateData(ctx);
  if (c->panic != NULL) return reply_error(ctx, "panic: ", c->panic);
  if (c->answer.error != NULL) return reply_error(ctx, "", c->answer.error);
  if (c->answer.text == NULL) return RedisModule_ReplyWithSimpleString(ctx, "OK");
  return RedisModule_ReplyWithStringBuffer(ctx, c->answer.text, c->answer.length);
}

/* Redis calls this last, also if the client is gone. */
static void free_call(RedisModuleCtx *ctx, void *data) {
  (void)ctx;
  call *c = data;
  LIST_REMOVE(c, link);
  free(c->answer.text);
  free(c->answer.error);
  RedisModule_Free(c->panic);
  RedisModule_Free(c);
}

/* The task has ended, inside a tick: Redis may answer the client. */
static void done(void *arg, rawwaker_poll code) {
  call *c = arg;
  switch (code) {
  case RAWWAKER_READY: count.done++; break;
  case RAWWAKER_PANICKED:
    count.panicked++;
    c->panic = RedisModule_Strdup(rawwaker_last_panic());
    break;
  default: count.aborted++; /* FFIWAKER_ABORTED; no client is left to reply to */
  }
  ffiwaker_task_drop(c->task);
  c->task = NULL;
  RedisModule_UnblockClient(c->client, c);
}

/* No client waits for c any more. Its task ends in the next tick, which calls done. */
static void abort_call(call *c) {
  if (c->task == NULL) return; /* it has ended, and Redis has not answered yet */
  ffiwaker_task_abort(c->task);
  due = true;
}

static void disconnected(RedisModuleCtx *ctx, RedisModuleBlockedClient *client) {
  (void)ctx;
  count.disconnected++;
  abort_call(call_of(client));
}

/* Also for CLIENT UNBLOCK. */
static int timed_out(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  (void)argv, (void)argc;
  count.timeouts++;
  abort_call(call_of(RedisModule_GetBlockedClientHandle(ctx)));
  return RedisModule_ReplyWithError(ctx, "ERR timeout");
}

/* Blocks the client until f has ended. Takes f. timeout is in milliseconds; 0: none. */
static int start(RedisModuleCtx *ctx, rawwaker_future f, long long timeout) {
  call *c = RedisModule_Calloc(1, sizeof *c);
  c->client = RedisModule_BlockClient(ctx, reply, timed_out, free_call, timeout);
  RedisModule_SetDisconnectCallback(c->client, disconnected);
  LIST_INSERT_HEAD(bucket_of(c->client), c, link);
  c->task = ffiwaker_executor_spawn_task(ex, f, &c->answer, done, c);
  due = true;
  return REDISMODULE_OK;
}

/* -------------------------------------------------------------------------- the commands -- */

/* Replies with an error and returns false if the client cannot be blocked: a script or a
 * transaction waits for no command. */
static bool may_block(RedisModuleCtx *ctx) {
  if ((RedisModule_GetContextFlags(ctx) & REDISMODULE_CTX_FLAGS_DENY_BLOCKING) == 0) return true;
  RedisModule_ReplyWithError(ctx, "ERR this command blocks: not in a script or a transaction");
  return false;
}

/* Reads a number from 0 to 292 years in milliseconds. Replies with an error and returns false if it
 * is anything else. */
static bool number(RedisModuleCtx *ctx, RedisModuleString *from, long long *to) {
  if (RedisModule_StringToLongLong(from, to) != REDISMODULE_OK || *to > LLONG_MAX / 1000000)
    RedisModule_ReplyWithError(ctx, "ERR value is not an integer or out of range");
  else if (*to < 0)
    RedisModule_ReplyWithError(ctx, "ERR value is out of range, must be positive");
  else
    return true;
  return false;
}

/* Checks the arguments of a command that is COMMAND argument [TIMEOUT ms], and reads the timeout.
 * Replies with an error and returns false if they are anything else. */
static bool arguments(RedisModuleCtx *ctx, RedisModuleString **argv, int argc, long long *timeout) {
  *timeout = 0;
  if (argc != 2 && argc != 4) {
    RedisModule_WrongArity(ctx);
    return false;
  }
  if (argc == 4) {
    if (strcasecmp(RedisModule_StringPtrLen(argv[2], NULL), "timeout") != 0) {
      RedisModule_ReplyWithError(ctx, "ERR syntax error");
      return false;
    }
    if (!number(ctx, argv[3], timeout)) return false;
  }
  return may_block(ctx);
}

static int sleep_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  long long timeout, ms;
  if (!arguments(ctx, argv, argc, &timeout) || !number(ctx, argv[1], &ms)) return REDISMODULE_OK;
  return start(ctx, ffiwaker_sleep((uint64_t)ms * 1000000), timeout);
}

static int get_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  long long timeout;
  if (!arguments(ctx, argv, argc, &timeout)) return REDISMODULE_OK;
  return start(ctx, module_get(RedisModule_StringPtrLen(argv[1], NULL)), timeout);
}

static int gzip_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  long long timeout;
  if (!arguments(ctx, argv, argc, &timeout)) return REDISMODULE_OK;
  RedisModuleKey *key = RedisModule_OpenKey(ctx, argv[1], REDISMODULE_READ);
  int type = RedisModule_KeyType(key);
  if (type == REDISMODULE_KEYTYPE_STRING) {
    size_t length;
    const char *value = RedisModule_StringDMA(key, &length, REDISMODULE_READ);
    start(ctx, module_gzip(value, length), timeout);
  } else if (type == REDISMODULE_KEYTYPE_EMPTY) {
    RedisModule_ReplyWithError(ctx, "ERR no such key");
  } else {
    RedisModule_ReplyWithError(ctx, REDISMODULE_ERRORMSG_WRONGTYPE);
  }
  RedisModule_CloseKey(key);
  return REDISMODULE_OK;
}

static int yield_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  long long timeout, times;
  if (!arguments(ctx, argv, argc, &timeout) || !number(ctx, argv[1], &times)) return REDISMODULE_OK;
  return start(ctx, module_yield((uint64_t)times), timeout);
}

static int panic_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  long long timeout;
  if (!arguments(ctx, argv, argc, &timeout)) return REDISMODULE_OK;
  return start(ctx, module_panic(RedisModule_StringPtrLen(argv[1], NULL)), timeout);
}

static int noop_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  (void)argv;
  if (argc != 1) return RedisModule_WrongArity(ctx);
  if (!may_block(ctx)) return REDISMODULE_OK;
  return start(ctx, module_noop(), 0);
}

/* The peer of FFI.NOOP in the bench: a goroutine answers, without a future or an executor. */
static void unblock_go(void *client) { RedisModule_UnblockClient(client, NULL); }

static int reply_ok(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  (void)argv, (void)argc;
  return RedisModule_ReplyWithSimpleString(ctx, "OK");
}
static int noop_go_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  (void)argv;
  if (argc != 1) return RedisModule_WrongArity(ctx);
  if (!may_block(ctx)) return REDISMODULE_OK;
  module_noop_go(unblock_go, RedisModule_BlockClient(ctx, reply_ok, NULL, NULL, 0));
  return REDISMODULE_OK;
}

static void reply_count(RedisModuleCtx *ctx, const char *name, long long n) {
  RedisModule_ReplyWithSimpleString(ctx, name);
  RedisModule_ReplyWithLongLong(ctx, n);
}

static int stats_command(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  (void)argv;
  if (argc != 1) return RedisModule_WrongArity(ctx);
  RedisModule_ReplyWithMap(ctx, 6);
  reply_count(ctx, "live", (long long)ffiwaker_executor_tasks(ex));
  reply_count(ctx, "done", count.done);
  reply_count(ctx, "panicked", count.panicked);
  reply_count(ctx, "aborted", count.aborted);
  reply_count(ctx, "disconnected", count.disconnected);
  reply_count(ctx, "timeouts", count.timeouts);
  return REDISMODULE_OK;
}

/* ----------------------------------------------------------------------- load and unload -- */

static const struct command {
  const char *name;
  RedisModuleCmdFunc run;
  const char *flags;
  int keys;
} commands[] = {
    {"ffi.sleep", sleep_command, "", 0},
    {"ffi.get", get_command, "", 0},
    {"ffi.gzip", gzip_command, "readonly", 1}, /* its first argument is a key */
    {"ffi.yield", yield_command, "", 0},
    {"ffi.panic", panic_command, "", 0},
    {"ffi.noop", noop_command, "", 0},
    {"ffi.noop.go", noop_go_command, "", 0},
    {"ffi.stats", stats_command, "fast", 0},
};

static bool add_commands(RedisModuleCtx *ctx) {
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
    const struct command *c = &commands[i];
    if (RedisModule_CreateCommand(ctx, c->name, c->run, c->flags, c->keys, c->keys, c->keys) !=
        REDISMODULE_OK)
      return false;
  }
  return true;
}

static bool watch(int fd) {
  return RedisModule_EventLoopAdd(fd, REDISMODULE_EVENTLOOP_READABLE, readable, NULL) ==
         REDISMODULE_OK;
}

static bool before_each_sleep(RedisModuleCtx *ctx) {
  return RedisModule_SubscribeToServerEvent(ctx, RedisModuleEvent_EventLoop, before_sleep) ==
         REDISMODULE_OK;
}

static void stop(void) {
  RedisModule_EventLoopDel(ffiwaker_executor_fd(ex), REDISMODULE_EVENTLOOP_READABLE);
  ffiwaker_executor_drop(ex);
  ex = NULL;
}

/* Go cannot be unloaded, so after MODULE UNLOAD this file's variables keep their values until the
 * next MODULE LOAD. The subscription comes last, because Redis does not end it if this fails. */
int RedisModule_OnLoad(RedisModuleCtx *ctx, RedisModuleString **argv, int argc) {
  (void)argv;
  if (RedisModule_Init(ctx, "ffi", 1, REDISMODULE_APIVER_1) != REDISMODULE_OK)
    return REDISMODULE_ERR;
  if (argc != 0 || RedisModule_EventLoopAdd == NULL) {
    RedisModule_Log(ctx, "warning", argc != 0 ? "ffi takes no arguments" : "ffi needs Redis 7.0");
    return REDISMODULE_ERR;
  }
  if ((ex = ffiwaker_executor_new()) == NULL) {
    RedisModule_Log(ctx, "warning", "ffi: no executor: %s", strerror(errno));
    return REDISMODULE_ERR;
  }
  memset(&count, 0, sizeof count);
  due = false;
  if (watch(ffiwaker_executor_fd(ex)) && add_commands(ctx) && before_each_sleep(ctx))
    return REDISMODULE_OK;
  stop();
  return REDISMODULE_ERR;
}

/* Redis refuses MODULE UNLOAD as long as a client is blocked by this module, so no task is left. It
 * ends the subscription itself. */
int RedisModule_OnUnload(RedisModuleCtx *ctx) {
  (void)ctx;
  stop();
  return REDISMODULE_OK;
}
