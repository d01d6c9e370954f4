/* postgres.c - see postgres.h. */
#include "postgres.h"

#include <string.h>

#include "rawwaker_channel.h"

struct query { /* a job's data */
  rawwaker_job *job;
  rawwaker_sender *rows; /* or NULL */
  struct query *next;    /* in the line for a connection */
  char text[]; /* ends with two NULs */
};

static rawwaker_queue *queue_of(postgres *p);
static void join_line(postgres *p, struct query *q, rawwaker_job *j);
static void leave(postgres *p, struct query *q);

static void submit(void *p, rawwaker_job *j) { join_line(p, rawwaker_job_data(j), j); }
static void cancel(void *p, rawwaker_job *j) { leave(p, rawwaker_job_data(j)); }
static void destroy(rawwaker_job *j, void *result) { PQclear(*(PGresult **)result); }
static void destroy_row(void *arg, void *row) { PQclear(*(PGresult **)row); }

static void release(rawwaker_job *j) {
  struct query *q = rawwaker_job_data(j);
  if (q->rows != NULL) rawwaker_sender_drop(q->rows);
}

rawwaker_future postgres_query(postgres *p, const void *text, size_t len, rawwaker_stream *rows) {
  static const rawwaker_job_ops ops = {submit, cancel, destroy, release};
  static const rawwaker_channel_ops row = {.destroy = destroy_row};
  rawwaker_job *j;
  rawwaker_future f = rawwaker_job_new(queue_of(p), &ops, sizeof(PGresult *), _Alignof(PGresult *),
                                       sizeof(struct query) + len + 2, &j);
  struct query *q = rawwaker_job_data(j);
  memcpy(q->text, text, len);
  if (rows == NULL) return f;
  *rows = rawwaker_channel_new(sizeof(PGresult *), _Alignof(PGresult *), 128, &row, NULL, &q->rows);
  return f;
}

/* The rest is libpq. */

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { AGAIN = 100 }; /* milliseconds between two cancels of one statement */

typedef struct connection {
  PGconn *link;         /* NULL: closed */
  PGcancel *key;        /* NULL: not open yet */
  struct query *query;  /* sent, and not ended */
  PGresult *result;     /* the query's; or a row that has no room in its stream */
  rawwaker_future room; /* of that stream, if there is such a row */
  short events;         /* to wait for */
  bool over;            /* the query's result has come */
  bool unwanted;        /* the query is to be cancelled */
  long asked;           /* when the canceller was asked to */
  atomic_bool asks;     /* it is at work, and uses key */
} connection;

struct postgres {
  rawwaker_queue *queue;
  rawwaker waker; /* of the thread; it owns the descriptor wakes */
  int wakes, asks[2];
  pthread_t thread, canceller;
  struct query *line, **line_end; /* waiting for a connection */
  char *conninfo;
  int size, live; /* live: opening or open */
  connection all[];
};

static rawwaker_queue *queue_of(postgres *p) { return p->queue; }

const char *postgres_error(const PGresult *result) {
  return result == NULL ? "cancelled or closed" : PQresultErrorMessage(result);
}

static void end(struct query *q, PGresult *last) { rawwaker_job_send(q->job, &last); }

static void advance(postgres *p, connection *c, short events);

static struct query *take_first(postgres *p) {
  struct query *q = p->line;
  if (q != NULL && (p->line = q->next) == NULL) p->line_end = &p->line;
  return q;
}

static void ignore(void *arg, const PGresult *notice) {} /* libpq would print it */

static void join_line(postgres *p, struct query *q, rawwaker_job *j) {
  q->job = j;
  if (p == NULL) {
    end(q, NULL);
    return;
  }
  connection *closed = NULL;
  *p->line_end = q;
  p->line_end = &q->next;
  for (connection *c = p->all; c < p->all + p->size; c++) {
    if (c->link == NULL) {
      closed = c;
    } else if (c->key != NULL && c->query == NULL) {
      advance(p, c, 0);
      if (p->line == NULL) return; /* an idle connection has taken it */
    }
  }
  if (closed == NULL) return;
  if ((closed->link = PQconnectStart(p->conninfo)) == NULL) abort();
  PQsetNoticeReceiver(closed->link, ignore, NULL);
  closed->events = PQstatus(closed->link) == CONNECTION_BAD ? 0 : POLLOUT;
  p->live++;
  advance(p, closed, 0);
}

static void leave(postgres *p, struct query *q) {
  for (connection *c = p->all; c < p->all + p->size; c++) {
    if (c->query == q) {
      c->unwanted = true;
      return;
    }
  }
  struct query **at = &p->line;
  while (*at != q) at = &(*at)->next;
  if ((*at = q->next) == NULL) p->line_end = at;
  end(q, NULL);
}

static void shut(postgres *p, connection *c) {
  p->live--;
  struct query *q; /* which has no connection to wait for, if this was the last one */
  while (p->live == 0 && (q = take_first(p)) != NULL)
    end(q, PQmakeEmptyPGresult(c->link, PGRES_FATAL_ERROR));
  PQfreeCancel(c->key);
  PQfinish(c->link);
  c->key = NULL;
  c->link = NULL;
}

static void connecting(postgres *p, connection *c) {
  switch (PQconnectPoll(c->link)) {
  case PGRES_POLLING_READING: c->events = POLLIN; break;
  case PGRES_POLLING_WRITING: c->events = POLLOUT; break;
  case PGRES_POLLING_OK:
    PQsetnonblocking(c->link, 1);
    if ((c->key = PQgetCancel(c->link)) == NULL) shut(p, c);
    break;
  default: shut(p, c);
  }
}

static void begin(connection *c, struct query *q) {
  const char *text = q->text + strlen(q->text) + 1, *word;
  int n = 0;
  for (word = text; *word != '\0'; word += strlen(word) + 1) n++;
  const char **values = malloc((size_t)(n + 1) * sizeof *values);
  if (values == NULL) abort();
  n = 0;
  for (word = text; *word != '\0'; word += strlen(word) + 1)
    values[n++] = *word == 'n' ? NULL : word + 1;
  c->query = q;
  c->over = c->unwanted = false;
  c->asked = 0;
  if (!PQsendQueryParams(c->link, q->text, n, NULL, values, NULL, NULL, 0)) {
    c->over = true; /* too many parameters, or no connection */
    c->result = PQmakeEmptyPGresult(c->link, PGRES_FATAL_ERROR);
  } else if (q->rows != NULL) {
    PQsetSingleRowMode(c->link);
  }
  free(values);
}

static void drop_room(connection *c) {
  if (c->room.vtable != NULL) c->room.vtable->drop(c->room.data);
  c->room.vtable = NULL;
}

/* Sends a row on. If there is no room, it returns false: room wakes the thread, and meanwhile
 * nothing is read from the connection. */
static bool pass_on(postgres *p, connection *c) {
  int sent;
  drop_room(c);
  while ((sent = rawwaker_sender_try_send(c->query->rows, &c->result)) == RAWWAKER_FULL) {
    rawwaker_context cx = {&p->waker};
    c->room = rawwaker_sender_room(c->query->rows);
    if (c->room.vtable->poll(c->room.data, &cx, NULL) == RAWWAKER_PENDING) return false;
    drop_room(c);
  }
  if (sent == RAWWAKER_CLOSED) {
    PQclear(c->result);
    c->unwanted = true;
  }
  c->result = NULL;
  return true;
}

/* Takes what has come of the query's results. */
static void answer(postgres *p, connection *c) {
  for (;;) {
    if (c->result != NULL && !c->over && !pass_on(p, c)) return;
    if (PQstatus(c->link) != CONNECTION_BAD && PQisBusy(c->link)) return;
    PGresult *r = PQgetResult(c->link);
    ExecStatusType status = PQresultStatus(r);
    if (r == NULL) break;
    if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      PQclear(r);
      break;
    }
    if (c->over) {
      PQclear(r);
    } else {
      c->over = status != PGRES_SINGLE_TUPLE;
      c->result = r;
    }
  }
  struct query *q = c->query;
  PGresult *last = c->result;
  c->query = NULL;
  c->result = NULL;
  end(q, last);
}

/* Does what can be done after events of a connection, or after a wake. */
static void advance(postgres *p, connection *c, short events) {
  if (c->link != NULL && c->key == NULL && (events != 0 || c->events == 0)) connecting(p, c);
  if (c->key == NULL) return;
  if (events != 0) PQconsumeInput(c->link);
  for (;;) {
    if (c->query != NULL) answer(p, c);
    /* A cancel that is under way would end the next statement. */
    if (c->query != NULL || atomic_load(&c->asks)) break;
    PGTransactionStatusType status = PQtransactionStatus(c->link);
    if (status == PQTRANS_UNKNOWN || status == PQTRANS_ACTIVE) { /* lost, or in a COPY */
      shut(p, c);
      return;
    }
    struct query *q = take_first(p);
    if (q == NULL) break;
    begin(c, q);
  }
  c->events = PQflush(c->link) > 0 ? POLLIN | POLLOUT : POLLIN;
}

/* PQcancel opens a connection to the server and waits for its end, so it has a thread. The server
 * forgets a cancel that comes before the statement, so cancels are repeated. */
static void *cancels(void *arg) {
  postgres *p = arg;
  char why[256];
  for (connection *c; read(p->asks[0], &c, sizeof c) == sizeof c;) {
    PQcancel(c->key, why, sizeof why);
    atomic_store(&c->asks, false);
    eventfd_write(p->wakes, 1);
  }
  return NULL;
}

/* Asks the canceller, and returns how long to wait for events of a connection. */
static int ask(postgres *p, connection *c) {
  struct timespec t;
  if (c->query == NULL || !c->unwanted || c->over) return -1;
  clock_gettime(CLOCK_MONOTONIC, &t);
  long now = t.tv_sec * 1000 + t.tv_nsec / 1000000;
  if (now - c->asked >= AGAIN && !atomic_exchange(&c->asks, true)) {
    c->asked = now;
    if (write(p->asks[1], &c, sizeof c) != sizeof c) abort();
  }
  return AGAIN;
}

static void *run(void *arg) {
  postgres *p = arg;
  struct pollfd fds[p->size + 2];
  while (rawwaker_queue_run(p->queue, p)) {
    int wait = -1;
    for (int i = 0; i < p->size; i++) {
      connection *c = &p->all[i];
      bool ready = c->link != NULL && c->room.vtable == NULL;
      fds[i] = (struct pollfd){ready ? PQsocket(c->link) : -1, c->events, 0};
      if (ask(p, c) > 0) wait = AGAIN;
    }
    fds[p->size] = (struct pollfd){rawwaker_queue_fd(p->queue), POLLIN, 0};
    fds[p->size + 1] = (struct pollfd){p->wakes, POLLIN, 0};
    poll(fds, p->size + 2, wait);
    eventfd_t n;
    if (fds[p->size + 1].revents != 0) eventfd_read(p->wakes, &n);
    for (int i = 0; i < p->size; i++) advance(p, &p->all[i], fds[i].revents);
  }
  return NULL;
}

static void wake(void *fd) { eventfd_write((int)(intptr_t)fd, 1); }
static void close_wakes(void *fd) { close((int)(intptr_t)fd); }

postgres *postgres_open(const char *conninfo, int size) {
  postgres *p = calloc(1, sizeof *p + (size_t)size * sizeof *p->all);
  if (p == NULL || (p->queue = rawwaker_queue_new()) == NULL) abort();
  p->size = size;
  p->line_end = &p->line;
  p->wakes = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (p->wakes < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p->asks) != 0) abort();
  p->waker = rawwaker_from_fn(wake, (void *)(intptr_t)p->wakes, close_wakes);
  if ((p->conninfo = strdup(conninfo)) == NULL || pthread_create(&p->thread, NULL, run, p) != 0 ||
      pthread_create(&p->canceller, NULL, cancels, p) != 0)
    abort();
  return p;
}

void postgres_close(postgres *p) {
  struct query *q;
  char why[256];
  rawwaker_queue_stop(p->queue);
  pthread_join(p->thread, NULL);
  close(p->asks[1]);
  pthread_join(p->canceller, NULL);
  close(p->asks[0]);
  rawwaker_queue_end(p->queue);
  while ((q = take_first(p)) != NULL) end(q, NULL);
  for (connection *c = p->all; c < p->all + p->size; c++) {
    if (c->link == NULL) continue;
    drop_room(c);
    PQclear(c->result);
    if (c->query != NULL) {
      PQcancel(c->key, why, sizeof why);
      end(c->query, NULL);
    }
    shut(p, c);
  }
  rawwaker_drop(p->waker);
  rawwaker_queue_drop(p->queue);
  free(p->conninfo);
  free(p);
}
