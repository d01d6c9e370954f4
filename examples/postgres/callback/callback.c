/* callback.c - see callback.h. */
#include "callback.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "_cgo_export.h"

struct query {
  uintptr_t handle;
  bool rows;
  struct query *next;
  char text[]; /* ends with two NULs */
};

typedef struct mailbox {
  pthread_mutex_t lock;
  struct query *first, **last;
  bool closed;
  int wakes;
} mailbox;

static mailbox *mailbox_of(postgres *p);

static void mailbox_init(mailbox *m) {
  pthread_mutex_init(&m->lock, NULL);
  m->last = &m->first;
  if ((m->wakes = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) abort();
}

bool callback_query(postgres *p, const void *text, size_t len, uintptr_t handle, bool rows) {
  mailbox *m = mailbox_of(p);
  struct query *q = calloc(1, sizeof *q + len + 2);
  if (q == NULL) abort();
  q->handle = handle;
  q->rows = rows;
  memcpy(q->text, text, len);
  pthread_mutex_lock(&m->lock);
  bool closed = m->closed;
  if (!closed) {
    *m->last = q;
    m->last = &q->next;
  }
  pthread_mutex_unlock(&m->lock);
  if (closed)
    free(q);
  else
    eventfd_write(m->wakes, 1);
  return !closed;
}

static struct query *mailbox_take(mailbox *m) {
  eventfd_t n;
  eventfd_read(m->wakes, &n);
  pthread_mutex_lock(&m->lock);
  struct query *q = m->first;
  m->first = NULL;
  m->last = &m->first;
  pthread_mutex_unlock(&m->lock);
  return q;
}

static bool mailbox_closed(mailbox *m) {
  pthread_mutex_lock(&m->lock);
  bool closed = m->closed;
  pthread_mutex_unlock(&m->lock);
  return closed;
}

static void mailbox_close(mailbox *m) {
  pthread_mutex_lock(&m->lock);
  m->closed = true;
  pthread_mutex_unlock(&m->lock);
  eventfd_write(m->wakes, 1);
}

void callback_resume(postgres *p) { eventfd_write(mailbox_of(p)->wakes, 1); }

static void end(struct query *q, PGresult *last) {
  callbackResult(q->handle, last);
  free(q);
}

/* The rest is libpq. */

#include <poll.h>

typedef struct connection {
  PGconn *link;        /* NULL: closed */
  bool open;
  struct query *query; /* sent, and not ended */
  PGresult *result;    /* the query's; or a row that was refused */
  bool over;           /* the query's result has come */
  short events;        /* to wait for */
} connection;

struct postgres {
  mailbox box;
  pthread_t thread;
  struct query *line, **line_end; /* waiting for a connection */
  char *conninfo;
  int size, live; /* live: opening or open */
  connection all[];
};

static mailbox *mailbox_of(postgres *p) { return &p->box; }

const char *callback_error(const PGresult *result) {
  return result == NULL ? "cancelled or closed" : PQresultErrorMessage(result);
}

static void advance(postgres *p, connection *c, short events);

static struct query *take_first(postgres *p) {
  struct query *q = p->line;
  if (q != NULL && (p->line = q->next) == NULL) p->line_end = &p->line;
  return q;
}

static void ignore(void *arg, const PGresult *notice) {} /* libpq would print it */

static void join_line(postgres *p, struct query *q) {
  connection *closed = NULL;
  q->next = NULL;
  *p->line_end = q;
  p->line_end = &q->next;
  for (connection *c = p->all; c < p->all + p->size; c++) {
    if (c->link == NULL) {
      closed = c;
    } else if (c->open && c->query == NULL) {
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

static void shut(postgres *p, connection *c) {
  p->live--;
  struct query *q; /* which has no connection to wait for, if this was the last one */
  while (p->live == 0 && (q = take_first(p)) != NULL)
    end(q, PQmakeEmptyPGresult(c->link, PGRES_FATAL_ERROR));
  PQfinish(c->link);
  c->link = NULL;
  c->open = false;
}

static void connecting(postgres *p, connection *c) {
  switch (PQconnectPoll(c->link)) {
  case PGRES_POLLING_READING: c->events = POLLIN; break;
  case PGRES_POLLING_WRITING: c->events = POLLOUT; break;
  case PGRES_POLLING_OK: c->open = PQsetnonblocking(c->link, 1) == 0; break;
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
  c->over = false;
  if (!PQsendQueryParams(c->link, q->text, n, NULL, values, NULL, NULL, 0)) {
    c->over = true; /* too many parameters, or no connection */
    c->result = PQmakeEmptyPGresult(c->link, PGRES_FATAL_ERROR);
  } else if (q->rows) {
    PQsetSingleRowMode(c->link);
  }
  free(values);
}

/* Takes what has come of the query's results. */
static void answer(postgres *p, connection *c) {
  for (;;) {
    if (c->result != NULL && !c->over) {
      if (!callbackRow(c->query->handle, c->result)) return; /* no room */
      c->result = NULL;
    }
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
  if (c->link != NULL && !c->open && (events != 0 || c->events == 0)) connecting(p, c);
  if (!c->open) return;
  if (events != 0) PQconsumeInput(c->link);
  for (;;) {
    if (c->query != NULL) answer(p, c);
    if (c->query != NULL) break;
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

static void *run(void *arg) {
  postgres *p = arg;
  struct pollfd fds[p->size + 1];
  while (!mailbox_closed(&p->box)) {
    for (int i = 0; i < p->size; i++) {
      connection *c = &p->all[i];
      bool ready = c->link != NULL && (c->result == NULL || c->over);
      fds[i] = (struct pollfd){ready ? PQsocket(c->link) : -1, c->events, 0};
    }
    fds[p->size] = (struct pollfd){p->box.wakes, POLLIN, 0};
    poll(fds, p->size + 1, -1);
    for (int i = 0; i < p->size; i++) advance(p, &p->all[i], fds[i].revents);
    for (struct query *q = mailbox_take(&p->box), *next; q != NULL; q = next) {
      next = q->next;
      join_line(p, q);
    }
  }
  return NULL;
}

postgres *callback_open(const char *conninfo, int size) {
  postgres *p = calloc(1, sizeof *p + (size_t)size * sizeof *p->all);
  if (p == NULL || (p->conninfo = strdup(conninfo)) == NULL) abort();
  mailbox_init(&p->box);
  p->size = size;
  p->line_end = &p->line;
  if (pthread_create(&p->thread, NULL, run, p) != 0) abort();
  return p;
}

void callback_close(postgres *p) {
  struct query *q, *next;
  mailbox_close(&p->box);
  pthread_join(p->thread, NULL);
  for (q = mailbox_take(&p->box); q != NULL; q = next) {
    next = q->next;
    end(q, NULL);
  }
  while ((q = take_first(p)) != NULL) end(q, NULL);
  for (connection *c = p->all; c < p->all + p->size; c++) {
    if (c->link == NULL) continue;
    PQclear(c->result);
    if (c->query != NULL) end(c->query, NULL);
    shut(p, c);
  }
  close(p->box.wakes);
  pthread_mutex_destroy(&p->box.lock);
  free(p->conninfo);
  free(p);
}
