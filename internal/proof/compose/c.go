//go:build cgo && unix

package main

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../../.. -I${SRCDIR}/../../../channel
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "rawwaker.h"
#include "rawwaker_channel.h"

extern void composeSite(uint64_t id, int drop);
extern void composeTake(uint64_t id, uintptr_t data, uintptr_t vtable);

// A leaf in C. Go has a reference too, so that a use after its drop is found, and not undefined.
enum { TWICE_AT_ONCE = 1, POLL_AFTER_READY = 2, POLL_AFTER_DROP = 4, DROPPED_TWICE = 8 };
typedef struct leaf {
	rawwaker_cell cell;
	_Atomic(int) open, nudged, seen, polls, in, bad, ready, dropped, refs;
	int selfs, calls;
	uint64_t id, value;
} leaf;
static _Atomic(int) leaves;

static void leaf_unref(leaf *l) {
	if (atomic_fetch_sub(&l->refs, 1) != 1) return;
	atomic_fetch_sub(&leaves, 1);
	free(l);
}
// CALLS_TAKE: Go keeps the waker in place of the cell.
enum { CALLS_POLL = 1, CALLS_DROP = 2, CALLS_TAKE = 4 };
static void leaf_register(leaf *l, const rawwaker *w) {
	if (!(l->calls & CALLS_TAKE)) {
		rawwaker_cell_register(&l->cell, w);
		return;
	}
	rawwaker c = rawwaker_clone(w);
	composeTake(l->id, (uintptr_t)c.data, (uintptr_t)c.vtable);
}
static rawwaker_poll leaf_poll(void *data, rawwaker_context *cx, void *out) {
	leaf *l = data;
	if (atomic_exchange(&l->in, 1)) l->bad |= TWICE_AT_ONCE;
	if (l->ready) l->bad |= POLL_AFTER_READY;
	if (l->dropped) l->bad |= POLL_AFTER_DROP;
	l->polls++;
	leaf_register(l, cx->waker);
	if (atomic_exchange(&l->nudged, 0)) l->seen++;
	if (l->calls & CALLS_POLL) {
		composeSite(l->id, 0);
		leaf_register(l, cx->waker);
	}
	rawwaker_poll got = RAWWAKER_PENDING;
	if (l->selfs > 0) {
		l->selfs--;
		rawwaker_wake_by_ref(cx->waker);
	} else if (l->open) {
		memcpy(out, &l->value, sizeof l->value);
		l->ready = 1;
		got = RAWWAKER_READY;
	}
	l->in = 0;
	return got;
}
static void leaf_drop(void *data) {
	leaf *l = data;
	if (atomic_exchange(&l->dropped, 1)) {
		l->bad |= DROPPED_TWICE;
		return;
	}
	if (l->in) l->bad |= TWICE_AT_ONCE;
	rawwaker_cell_drop(&l->cell);
	int calls = (l->calls & CALLS_DROP) && !l->ready;
	uint64_t id = l->id;
	if (l->calls & CALLS_TAKE) composeTake(id, 0, 0);
	leaf_unref(l);
	if (calls) composeSite(id, 1);
}
static const rawwaker_future_vtable leaf_vtable = {leaf_poll, leaf_drop};
static leaf *leaf_new(uint64_t id, uint64_t value, int selfs, int calls) {
	leaf *l = calloc(1, sizeof *l);
	if (l == NULL) abort();
	l->refs = 2;
	l->id = id;
	l->value = value;
	l->selfs = selfs;
	l->calls = calls;
	leaves++;
	return l;
}
static uintptr_t leaf_vt(void) { return (uintptr_t)&leaf_vtable; }
static void leaf_left(leaf *l) { l->in = 0; }
static void *leaf_wake_main(void *l) {
	rawwaker_cell_wake(&((leaf *)l)->cell);
	return NULL;
}
static void on_thread(void *(*f)(void *), void *arg) {
	pthread_t id;
	if (pthread_create(&id, NULL, f, arg) != 0) abort();
	pthread_join(id, NULL);
}
static void leaf_wake(leaf *l, int open, int thread) {
	if (open) l->open = 1; else l->nudged = 1;
	if (thread) on_thread(leaf_wake_main, l); else leaf_wake_main(l);
}
static int leaf_get(leaf *l, int what) {
	switch (what) {
	case 0: return l->polls;
	case 1: return l->seen;
	case 2: return l->ready || l->dropped;
	case 3: return l->dropped;
	default: return l->bad;
	}
}
static int leaves_live(void) { return leaves; }

// Wakes of a waker of Go's. The reference is consumed.
static void *wake_main(void *w) {
	rawwaker_wake(*(rawwaker *)w);
	return NULL;
}
static void *wake_refs_main(void *arg) {
	rawwaker w = *(rawwaker *)arg, c = rawwaker_clone(&w);
	rawwaker_wake_by_ref(&w);
	rawwaker_wake_by_ref(&c);
	rawwaker_drop(w);
	rawwaker_wake(c);
	return NULL;
}
static void wake_raw(uintptr_t data, uintptr_t vtable, int how) {
	rawwaker w = {(void *)data, (const rawwaker_vtable *)vtable};
	if (how == 0) wake_main(&w);
	else if (how == 1) on_thread(wake_main, &w);
	else on_thread(wake_refs_main, &w);
}

// Hosts.
static void post(void *arg) { sem_post(arg); }
static void end_semaphore(void *arg) {
	sem_destroy(arg);
	free(arg);
}
typedef struct host {
	rawwaker_future f;
	rawwaker w;
	uint64_t out;
	rawwaker_poll got;
} host;
static void *host_block_main(void *arg) {
	host *h = arg;
	h->got = rawwaker_block_on(h->f, &h->out);
	return NULL;
}
static void *host_poll_main(void *arg) {
	host *h = arg;
	rawwaker_context cx = {&h->w};
	h->got = h->f.vtable->poll(h->f.data, &cx, &h->out);
	return NULL;
}
// how: 0 block_on here, 1 block_on on a C thread, 2 poll here, 3 each poll on a new thread.
static uint8_t host_run(uintptr_t data, uintptr_t vtable, int how, uint64_t *out) {
	host h = {.f = {(void *)data, (const rawwaker_future_vtable *)vtable}};
	if (how == 0) host_block_main(&h);
	else if (how == 1) on_thread(host_block_main, &h);
	else {
		sem_t *woken = malloc(sizeof *woken);
		if (woken == NULL) abort();
		sem_init(woken, 0, 0);
		h.w = rawwaker_from_fn(post, woken, end_semaphore);
		for (;;) {
			if (how == 2) host_poll_main(&h); else on_thread(host_poll_main, &h);
			if (h.got != RAWWAKER_PENDING) break;
			while (sem_wait(woken) != 0) {
			}
		}
		h.f.vtable->drop(h.f.data);
		rawwaker_drop(h.w);
	}
	*out = h.out;
	return h.got;
}
static void wait_fd(int fd, int stop) {
	struct pollfd p[] = {{fd, POLLIN, 0}, {stop, POLLIN, 0}};
	poll(p, 2, -1);
}

// A oneshot and a channel of C.
typedef struct words { uintptr_t data, vtable, sender; } words;
static words oneshot_new(void) {
	rawwaker_oneshot *tx;
	rawwaker_future f = rawwaker_oneshot_new(8, 8, NULL, NULL, &tx);
	return (words){(uintptr_t)f.data, (uintptr_t)f.vtable, (uintptr_t)tx};
}
static void oneshot_end(uintptr_t tx, int how, uint64_t v) {
	rawwaker_oneshot *o = (rawwaker_oneshot *)tx;
	if (how == 0) rawwaker_oneshot_send(o, &v);
	else if (how == 1) rawwaker_oneshot_fail(o, "fault", 5);
	else rawwaker_oneshot_drop(o);
}
static words channel_new(int capacity) {
	rawwaker_sender *tx;
	rawwaker_stream s = rawwaker_channel_new(8, 8, capacity, NULL, NULL, &tx);
	return (words){(uintptr_t)s.data, (uintptr_t)s.vtable, (uintptr_t)tx};
}
static void channel_send(uintptr_t tx, uint64_t v) {
	rawwaker_sender_try_send((rawwaker_sender *)tx, &v);
}
static void channel_end(uintptr_t tx) { rawwaker_sender_drop((rawwaker_sender *)tx); }
*/
import "C"

import (
	"sync"
	"sync/atomic"
	"unsafe"

	_ "github.com/seed-8a1b3254/ffiwaker"         // links rawwaker.c
	_ "github.com/seed-8a1b3254/ffiwaker/channel" // links rawwaker_channel.c
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// HasC is whether programs may use C.
const HasC = true

// cLeaf is a leaf in C.
type cLeaf struct {
	mu   sync.Mutex // of p: a waker's function may be late
	p    *C.leaf
	id   uint64
	site *site
	kept atomic.Pointer[rawwaker.Waker] // taken from C
}

var (
	cLeaves  sync.Map // of *site by number
	cNumbers struct {
		sync.Mutex
		last uint64
	}
)

func newCLeaf(value uint64, selfs int, s *site) *cLeaf {
	cNumbers.Lock()
	cNumbers.last++
	id := cNumbers.last
	cNumbers.Unlock()
	calls := 0
	for _, a := range s.acts {
		if a.Do == "take" {
			calls |= C.CALLS_TAKE
		} else {
			calls |= 1 << a.On
		}
	}
	l := &cLeaf{id: id, site: s}
	l.p = C.leaf_new(C.uint64_t(id), C.uint64_t(value), C.int(selfs), C.int(calls))
	if calls != 0 {
		cLeaves.Store(id, l)
	}
	return l
}

//export composeSite
func composeSite(id C.uint64_t, drop C.int) {
	v, ok := cLeaves.Load(uint64(id))
	if !ok {
		return
	}
	l := v.(*cLeaf)
	left := true
	defer func() {
		if left && drop == 0 {
			C.leaf_left(l.p)
		}
	}()
	l.site.visit(int(drop), nil)
	left = false
}

// composeTake keeps a waker of C, in place of the one before; or none.
//
//export composeTake
func composeTake(id C.uint64_t, data, vtable C.uintptr_t) {
	var w *rawwaker.Waker
	if vtable != 0 {
		w = rawwaker.FromRaw(rawwaker.RawWakerOf(uintptr(data), uintptr(vtable)))
	}
	if v, ok := cLeaves.Load(uint64(id)); ok {
		w = v.(*cLeaf).kept.Swap(w)
	}
	if w != nil {
		w.Drop()
	}
}

func (l *cLeaf) raw() rawwaker.RawFuture {
	return rawwaker.RawFutureOf(uintptr(unsafe.Pointer(l.p)), uintptr(C.leaf_vt()))
}

func (l *cLeaf) wake(open, thread bool) {
	var o, t C.int
	if open {
		o = 1
	}
	if thread {
		t = 1
	}
	l.mu.Lock()
	if l.p != nil {
		C.leaf_wake(l.p, o, t)
	}
	l.mu.Unlock()
	if w := l.kept.Swap(nil); w != nil {
		w.Wake()
	}
}

// get is for the controller, before release.
func (l *cLeaf) get(what int) int { return int(C.leaf_get(l.p, C.int(what))) }

// release gives Go's reference up.
func (l *cLeaf) release() {
	cLeaves.Delete(l.id)
	if w := l.kept.Swap(nil); w != nil {
		w.Drop()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	C.leaf_unref(l.p)
	l.p = nil
}

func cLeavesLive() int { return int(C.leaves_live()) }

func cWake(w *rawwaker.Waker, how int) {
	data, vtable := w.IntoRaw().Words()
	C.wake_raw(C.uintptr_t(data), C.uintptr_t(vtable), C.int(how))
}

// cHost runs f as a host in C does, and returns its code and value.
func cHost(f F, how int) (code int, v uint64) {
	data, vtable := rawwaker.FutureIntoRaw(f).Words()
	out := (*C.uint64_t)(C.calloc(1, 8))
	defer C.free(unsafe.Pointer(out))
	code = int(C.host_run(C.uintptr_t(data), C.uintptr_t(vtable), C.int(how), out))
	return code, uint64(*out)
}

// waitFD returns when one of the two is readable.
func waitFD(fd, stop int) { C.wait_fd(C.int(fd), C.int(stop)) }

func cOneshot() (f F, end func(how int, v uint64)) {
	n := C.oneshot_new()
	f = rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureOf(uintptr(n.data), uintptr(n.vtable)))
	return f, func(how int, v uint64) { C.oneshot_end(n.sender, C.int(how), C.uint64_t(v)) }
}

func cChannel(capacity int) (s S, send func(v uint64), end func()) {
	n := C.channel_new(C.int(capacity))
	raw := rawwaker.RawStreamOf(uintptr(n.data), uintptr(n.vtable))
	return rawwaker.StreamFromRaw[uint64](raw),
		func(v uint64) { C.channel_send(n.sender, C.uint64_t(v)) },
		func() { C.channel_end(n.sender) }
}
