package executor

import (
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// ring is a FIFO queue. It grows. When a ring that has been long is empty, it gives its memory
// back.
type ring struct {
	all  []*task // its length is a power of two, or 0
	head int
	n    int
}

// ringKept is the length up to which an empty ring, or list, keeps its memory.
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

// take pops as many tasks as fit.
func (r *ring) take(into []*task) []*task {
	n := min(r.n, len(into))
	for i := range n {
		into[i] = r.pop()
	}
	return into[:n]
}

// taskList is where a task was spawned: a queue of tasks to be polled, and the list of the live
// tasks, which may be queued elsewhere. Both have one lock, so that a spawn takes one.
type taskList struct {
	owner owner

	mu      sync.Mutex
	queue   ring
	polling *task       // was taken out of the queue last; it may have ended
	live    []*task     // the list, with tasks that have ended and are not yet unlinked
	closed  bool        // by Close, permanently: nothing is spawned, and the queue is Close's
	free    []*detached // for other futures

	// unfinished counts the tasks on the list that have no result yet.
	unfinished atomic.Int64
}

// link puts t on the list. mu is held.
func (l *taskList) link(t *task) {
	t.index = len(l.live)
	l.live = append(l.live, t)
	l.unfinished.Add(1)
}

// detached returns a task without a handle: a new one, or one from free. mu is held.
func (l *taskList) detached(f rawwaker.Future[struct{}]) (d *detached) {
	if n := len(l.free); n > 0 && !l.closed {
		d, l.free = l.free[n-1], l.free[:n-1]
		d.task.state.Store(0)
	} else {
		d = new(detached)
		d.task.init(l, d, f)
	}
	d.f = f
	return d
}

// maxFree is how many unused tasks a list keeps.
const maxFree = 1024

// refuse ends a new task, because l is closed. mu is held, and is not when refuse returns.
func (l *taskList) refuse(t *task) {
	l.mu.Unlock()
	t.state.Or(refused)
	t.end(closed)
}

// recycle keeps a task that was unlinked, if nothing else refers to it any more. mu is held.
func (l *taskList) recycle(t *task) {
	d, ok := t.core.Target().(*detached)
	if ok && t.extra == nil && !l.closed && len(l.free) < maxFree && !t.core.Escaped() {
		l.free = append(l.free, d)
	}
}

// unlink takes t off the list, and moves the last task to its index. mu is held.
func (l *taskList) unlink(t *task) {
	n := len(l.live) - 1
	last := l.live[n]
	l.live[t.index], last.index = last, t.index
	l.live[n] = nil
	l.live = l.live[:n]
	if n == 0 && cap(l.live) > ringKept {
		l.live = nil
	}
}

// alive appends the tasks that have not ended.
func (l *taskList) alive(to []*task) []*task {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, t := range l.live {
		if t.state.Load()&done == 0 {
			to = append(to, t)
		}
	}
	return to
}

// count returns how many tasks have not ended.
func (l *taskList) count() int { return int(l.unfinished.Load()) }

// shut begins a Close: from here on no poll begins, and each spawn is refused. It requests the
// end of the live tasks, and returns them.
func shut(lists []*taskList) (all []*task) {
	for _, l := range lists {
		l.mu.Lock()
		l.closed = true
		l.free = nil
		l.mu.Unlock()
	}
	for _, l := range lists {
		all = l.alive(all)
	}
	for _, t := range all {
		t.requestEnd(closed)
	}
	return all
}

// endTasks is the rest of a Close. It ends the tasks that are asleep, then sweeps the queues
// while busy. A runtime.Goexit in a Drop does not end it early.
func endTasks(all []*task, sweep func(), busy func() bool) {
	defer persist(func() {
		for sweep(); busy(); sweep() {
			runtime.Gosched()
		}
	})
	each(all, endAsleep)
}

// polledOf returns the tasks that were taken out of the queues last.
func polledOf(lists []*taskList) map[*task]bool {
	polled := make(map[*task]bool)
	for _, l := range lists {
		l.mu.Lock()
		polled[l.polling] = true
		l.mu.Unlock()
	}
	return polled
}

// remove takes a task that has ended off its list.
func (l *taskList) remove(t *task) {
	l.mu.Lock()
	l.unlink(t)
	l.recycle(t)
	empty := len(l.live) == 0
	l.mu.Unlock()
	if empty {
		l.owner.emptied()
	}
}

// sweep ends the tasks in the queue of a closed list.
func (l *taskList) sweep() { endAll(&l.mu, &l.queue) }

// endAll ends the tasks in a queue. If a Drop calls runtime.Goexit, the calling goroutine ends,
// after all of them have ended.
func endAll(mu *sync.Mutex, queue *ring) {
	returned := false
	defer func() {
		if !returned {
			endAll(mu, queue)
		}
	}()
	for {
		mu.Lock()
		t := queue.pop()
		mu.Unlock()
		if t == nil {
			break
		}
		t.list.endNow(t)
	}
	returned = true
}

// endNow ends a task of l without a poll. The caller has the token, and is not its worker.
func (l *taskList) endNow(t *task) {
	defer l.remove(t)
	t.end(closed)
}

// endAsleep ends a task if it is asleep: the exchange that finds it parked gets the token.
func endAsleep(t *task) {
	if t.core.Notify() {
		t.list.endNow(t)
	}
}

// each calls f for each element. If a call ends by runtime.Goexit or a panic, f is called for the
// others before the goroutine ends or the panic continues.
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

// inTransit reports whether one of these tasks is about to be queued: a wake has taken its token,
// and has not pushed it yet. That lasts a few instructions.
func inTransit(lists []*taskList, all []*task) bool {
	polled := polledOf(lists)
	for _, t := range all {
		if t.state.Load()&(ending|done) == 0 && !polled[t] {
			return true
		}
	}
	return false
}
