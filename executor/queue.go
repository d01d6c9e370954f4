package executor

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// ring is a first-in first-out queue. It grows, and releases its memory when it is empty after it
// was long.
type ring struct {
	all  []*task // a power of two, or none
	head int
	n    int
}

const ringKept = 1024

func (r *ring) push(t *task) {
	if r.n == len(r.all) {
		r.grow()
	}
	r.all[(r.head+r.n)&(len(r.all)-1)] = t
	r.n++
}

func (r *ring) grow() {
	all := make([]*task, max(16, 2*len(r.all)))
	for i := range r.n {
		all[i] = r.all[(r.head+i)&(len(r.all)-1)]
	}
	r.all, r.head = all, 0
}

// pop returns nil if the queue is empty.
func (r *ring) pop() *task {
	if r.n == 0 {
		return nil
	}
	t := r.all[r.head]
	r.all[r.head] = nil
	r.head = (r.head + 1) & (len(r.all) - 1)
	if r.n--; r.n == 0 && len(r.all) > ringKept {
		*r = ring{}
	}
	return t
}

// take pops tasks while there are some and they fit.
func (r *ring) take(into []*task) []*task {
	n := min(r.n, len(into))
	for i := range n {
		into[i] = r.pop()
	}
	return into[:n]
}

// taskList is where a task was spawned: a queue of tasks to be polled, and the list of living
// tasks, which may be queued elsewhere. One lock guards both, so that a spawn takes one.
type taskList struct {
	owner owner

	mu      sync.Mutex
	queue   ring
	polling *task   // last taken out of the queue; it may have ended
	live    []*task // the list, with ended tasks that were not removed yet; each has its index
	closed  bool    // permanently: no task is spawned, and Close owns the queue
	free    []*detached

	// unfinished counts the listed tasks that have no result yet.
	unfinished atomic.Int64
}

// link puts t on the list. mu is held.
func (h *taskList) link(t *task) {
	t.index = len(h.live)
	h.live = append(h.live, t)
	h.unfinished.Add(1)
}

// detached returns a task without a handle. mu is held.
func (h *taskList) detached(f rawwaker.Future[struct{}]) (d *detached) {
	if n := len(h.free); n > 0 && !h.closed {
		d, h.free = h.free[n-1], h.free[:n-1]
		d.task.state.Store(0)
	} else {
		d = new(detached)
		d.task.init(h, d, f)
	}
	d.f = f
	return d
}

const maxFree = 1024

// refuse ends a new task: h is closed, and does not list it. mu is held, and is released.
func (h *taskList) refuse(t *task) {
	h.mu.Unlock()
	t.state.Or(refused)
	t.end(closed)
}

// next takes the first task out of the queue. mu is held.
func (h *taskList) next() *task {
	t := h.queue.pop()
	h.polling = t
	return t
}

// recycle keeps a task that was unlinked, if its waker has not escaped. mu is held.
func (h *taskList) recycle(t *task) {
	d, ok := t.core.Target().(*detached)
	if ok && t.extra == nil && !h.closed && len(h.free) < maxFree && !t.core.Escaped() {
		h.free = append(h.free, d)
	}
}

// unlink takes t out, and puts the last in its place. mu is held.
func (h *taskList) unlink(t *task) {
	n := len(h.live) - 1
	last := h.live[n]
	h.live[t.index], last.index = last, t.index
	h.live[n] = nil
	h.live = h.live[:n]
	if n == 0 && cap(h.live) > ringKept {
		h.live = nil
	}
}

// alive appends the tasks that have not ended.
func (h *taskList) alive(to []*task) []*task {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.live {
		if t.state.Load()&done == 0 {
			to = append(to, t)
		}
	}
	return to
}

// count returns how many have not ended.
func (h *taskList) count() int { return int(h.unfinished.Load()) }

// shut refuses further tasks and polls, releases the tasks that were kept for reuse, and requests
// the end of the living ones, which it returns.
func shut(lists []*taskList) (all []*task) {
	for _, h := range lists {
		h.mu.Lock()
		h.closed = true
		h.free = nil
		h.mu.Unlock()
	}
	for _, h := range lists {
		all = h.alive(all)
	}
	for _, t := range all {
		t.requestEnd(closed)
	}
	return all
}

// endTasks is the rest of Close: it ends the sleeping tasks, and sweeps the queues while busy
// reports that a task is on its way into one.
func endTasks(all []*task, sweep func(), busy func() bool) {
	defer persist(func() {
		for sweep(); busy(); sweep() {
			runtime.Gosched()
		}
	})
	each(all, endAsleep)
}

// polledOf returns the tasks that these lists' owners have last taken out of a queue.
func polledOf(lists []*taskList) map[*task]bool {
	polled := make(map[*task]bool)
	for _, h := range lists {
		h.mu.Lock()
		polled[h.polling] = true
		h.mu.Unlock()
	}
	return polled
}

// remove takes an ended task off its list, and notifies the owner if that was the last.
func (h *taskList) remove(t *task) {
	h.mu.Lock()
	h.unlink(t)
	h.recycle(t)
	empty := len(h.live) == 0
	h.mu.Unlock()
	if empty {
		h.owner.emptied()
	}
}

// sweep ends what is queued in a list that is shut: see [endAll].
func (h *taskList) sweep() { endAll(&h.mu, &h.queue) }

// endAll ends the tasks of a queue. If a Drop calls runtime.Goexit, some may be left.
func endAll(mu *sync.Mutex, queue *ring) {
	for {
		mu.Lock()
		t := queue.pop()
		mu.Unlock()
		if t == nil {
			return
		}
		t.list.endNow(t)
	}
}

// endNow ends a task on h's list. The caller holds the token and is not the task's worker.
func (h *taskList) endNow(t *task) {
	defer h.remove(t)
	t.end(closed)
}

// endAsleep ends a task if it is asleep: then the caller gets the token.
func endAsleep(t *task) {
	if t.core.Notify() {
		t.list.endNow(t)
	}
}

// each calls f for each element. If a call ends by runtime.Goexit or a panic, the others are made
// before that continues.
func each[E any](all []E, f func(E)) {
	i := 0
	defer func() {
		if i < len(all) {
			each(all[i+1:], f)
		}
	}()
	for ; i < len(all); i++ {
		f(all[i])
	}
}

// inTransit reports whether a goroutine is about to queue one of these tasks: it was woken, and is
// neither queued nor being polled nor ended. That takes a few instructions.
func inTransit(lists []*taskList, all []*task) bool {
	polled := polledOf(lists)
	for _, t := range all {
		if t.state.Load()&(ending|done) == 0 && !polled[t] {
			return true
		}
	}
	return false
}
