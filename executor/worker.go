package executor

import (
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// worker is a place for one goroutine that runs tasks, with a queue. Any goroutine may push a
// task; the worker's own takes them out, and workers that have nothing to do steal them.
//
// A task pushed onto the empty queue of an awake worker starts no other worker, which would cost
// more than most polls take: that worker sees it when its current poll returns. If that poll
// lasts, [Executor.watchdog] lets others take it.
type worker struct {
	taskList
	ex *Executor

	// Guarded by mu.
	awake     bool    // it has a goroutine, which reads the queue once more before it clears this
	blocked   bool    // its poll lasts: others may take all that is queued
	polls     uint64  // how many tasks were taken out to be polled
	pollsSeen uint64  // polls, as the latest watchdog has seen it
	bubble    int     // 1: the goroutine belongs to a synctest bubble
	stolen    []*task // ended, and still on the lists of other workers

	lateSweeps atomic.Int32 // goroutines that sweep what was queued after Close had begun

	// Used only by the goroutine.
	searching   bool
	running     *task               // is being polled or ended: a panic is this task's
	stolenCount int                 // tasks put into stolen since the last unlinkStolen
	stealBuf    [queueCap / 2]*task // not on the stack, which would grow for it

	_ [64]byte
}

const (
	queueCap            = 1024 // of a worker's queue; what does not fit goes to the global queue
	batch               = 64   // of stolen tasks to unlink, or of tasks from the global queue
	globalQueueInterval = 61   // polls between two looks at the global queue, or at a Local's inbox
	watchdogInterval    = 10 * time.Millisecond
)

// idleState is how many workers are awake, in the low half, and how many of those search, in the
// high half.
type idleState struct{ atomic.Uint64 }

const (
	oneAwake     uint64 = 1
	oneSearching uint64 = 1 << 32
)

func awakeOf(v uint64) int     { return int(uint32(v)) }
func searchingOf(v uint64) int { return int(v >> 32) }

// admit counts in one more worker, which searches, unless one searches already or all are awake.
func (c *idleState) admit(all int) bool {
	for {
		v := c.Load()
		if searchingOf(v) != 0 || awakeOf(v) >= all {
			return false
		}
		if c.CompareAndSwap(v, v+oneAwake+oneSearching) {
			return true
		}
	}
}

// spawn queues a new task. mu is held, and is not when spawn returns.
func (w *worker) spawn(t *task) {
	if w.closed {
		w.refuse(t)
		return
	}
	w.link(t)
	w.push(t, wake.Anywhere)
}

// push queues t, and starts a worker if none would come for it. mu is held, and is not when push
// returns.
func (w *worker) push(t *task, at wake.Place) {
	if w.queue.n >= queueCap {
		g := &w.ex.global
		g.mu.Lock()
		g.queue.push(t)
		g.mu.Unlock()
	} else {
		w.queue.push(t)
	}
	alone := w.awake && w.queue.n == 1 && !w.blocked
	late := w.closed
	w.mu.Unlock()
	switch {
	case late:
		w.sweepLate(at)
	case !alone:
		w.ex.startWorker(at)
	}
}

// sweepLate sweeps the queues on a goroutine, for which Close waits: Close may have swept them
// before.
func (w *worker) sweepLate(at wake.Place) {
	w.lateSweeps.Add(1)
	at.Go(func() {
		defer w.lateSweeps.Add(-1)
		w.ex.sweep()
	})
}

// startWorker starts a worker's goroutine, unless one searches already or all workers are awake.
func (ex *Executor) startWorker(at wake.Place) {
	if ex.idle.admit(len(ex.workers)) {
		at.Go(ex.runWorkerFuncs[ex.armWatchdog()])
	}
}

// runWorker is the goroutine of a worker: of w, if the goroutine of w ended in the middle, or of
// one that it claims. bubble is 1 if it belongs to a synctest bubble.
func (ex *Executor) runWorker(w *worker, bubble int) {
	returned := false
	defer func() {
		if !returned {
			go ex.runWorker(w, bubble) // a task has called runtime.Goexit
		}
	}()
	for {
		if w == nil {
			w = ex.claim(bubble)
		}
		for !w.serve() {
		}
		w = nil
		ex.idle.Add(^(oneAwake + oneSearching - 1))
		// A push that read this worker as awake has started no other: look at the queues again.
		if !ex.hasWork() || !ex.idle.admit(len(ex.workers)) {
			break
		}
		ex.armWatchdog()
	}
	returned = true
}

// claim finds a worker without a goroutine. There is one, because admit has counted this
// goroutine in.
func (ex *Executor) claim(bubble int) *worker {
	w := ex.workerHint.Get().(*worker)
	for i := 0; !w.claim(bubble); i++ {
		w = &ex.workers[i%len(ex.workers)]
	}
	ex.workerHint.Put(w)
	w.searching = true
	return w
}

func (w *worker) claim(bubble int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.awake {
		return false
	}
	w.awake, w.bubble = true, bubble
	return true
}

// serve runs tasks until there is none and w is asleep: true; or until a task has panicked:
// false.
func (w *worker) serve() (asleep bool) {
	defer func() {
		if !asleep {
			w.contain(recover())
		}
	}()
	var polled *task // returned Pending, and is to be parked
	var ended *task  // is still on its list
	for polls := 1; ; polls++ {
		if polls%globalQueueInterval == 0 {
			w.maintain()
		}
		t := w.pop(polled, ended)
		if t == nil {
			if t = w.search(); t == nil {
				return true
			}
		}
		w.running = t
		pending, completed := t.run()
		w.running, polled, ended = nil, nil, nil
		switch {
		case pending:
			polled = t
		case completed:
			ended = t
		}
	}
}

// contain ends the task whose run has panicked with v.
func (w *worker) contain(v any) {
	if t := w.running; t != nil {
		w.running = nil
		defer t.list.remove(t)
		t.panicked(v)
	}
}

// unlinkStolen takes the tasks in stolen off their lists.
func (w *worker) unlinkStolen() {
	if w.stolenCount == 0 {
		return
	}
	w.stolenCount = 0
	w.mu.Lock()
	got := w.takeStolen(w.stealBuf[:0])
	w.mu.Unlock()
	w.ex.remove(got)
}

// takeStolen moves the tasks in stolen to a slice. mu is held.
func (w *worker) takeStolen(to []*task) []*task {
	to = append(to, w.stolen...)
	clear(w.stolen)
	w.stolen = w.stolen[:0]
	return to
}

// remove takes tasks that have ended off their lists, each list's under one lock, and clears all.
func (ex *Executor) remove(all []*task) {
	empty := false
	for i, first := range all {
		if first == nil {
			continue
		}
		list := first.list
		list.mu.Lock()
		for j, t := range all[i:] {
			if t != nil && t.list == list {
				list.unlink(t)
				list.recycle(t)
				all[i+j] = nil
			}
		}
		empty = empty || len(list.live) == 0
		list.mu.Unlock()
	}
	if empty {
		ex.emptied()
	}
}

// maintain runs every globalQueueInterval polls: tasks in the global queue get their turn, and
// workerHint learns which worker runs on this CPU.
func (w *worker) maintain() {
	w.unlinkStolen()
	w.refill(batch / 2)
	w.ex.workerHint.Get()
	w.ex.workerHint.Put(w)
}

// pop parks polled, if it is not nil, or queues it again if it was woken; takes ended off its
// list, or puts it into stolen; and takes out the next task. All that under one lock.
func (w *worker) pop(polled, ended *task) *task {
	w.mu.Lock()
	empty := false
	if ended != nil {
		empty = w.removeEnded(ended)
	}
	if w.closed {
		w.polling = polled
		w.mu.Unlock()
		if empty {
			w.ex.emptied()
		}
		if polled != nil {
			w.running = polled
			polled.end(closed) // Close may have swept the queue before
			w.running = nil
			polled.list.remove(polled)
		}
		return nil
	}
	var polls uint64
	parked := false
	if polled != nil {
		if polls, parked = polled.park(); !parked {
			w.queue.push(polled)
		}
	}
	t := w.next()
	more := w.queue.n > 0
	w.mu.Unlock()
	if parked {
		polled.reportLost(polls)
	}
	if empty {
		w.ex.emptied()
	}
	if w.stolenCount >= batch {
		w.unlinkStolen()
	}
	if t != nil {
		w.endSearch()
		if more {
			w.ex.startWorker(wake.Anywhere)
		}
	}
	return t
}

// removeEnded takes a task that has ended off w's list, and reports whether the list is empty
// now. A task of another list goes into stolen. mu is held.
func (w *worker) removeEnded(t *task) (empty bool) {
	if t.list != &w.taskList {
		w.stolen = append(w.stolen, t)
		w.stolenCount++
		return false
	}
	w.unlink(t)
	w.recycle(t)
	return len(w.live) == 0
}

// next takes the first task out of the queue. mu is held.
func (w *worker) next() *task {
	t := w.queue.pop()
	w.polling = t
	w.polls++
	w.blocked = false
	return t
}

// endSearch ends the search, if w searches. If w was the last to search and there is more to do,
// it starts another worker.
func (w *worker) endSearch() {
	if w.searching {
		w.searching = false
		v := w.ex.idle.Add(^(oneSearching - 1))
		if searchingOf(v) == 0 && awakeOf(v) < len(w.ex.workers) && w.ex.hasWork() {
			w.ex.startWorker(wake.Anywhere)
		}
	}
}

// search looks for a task elsewhere. It returns nil if there is none: then w is asleep.
func (w *worker) search() *task {
	w.unlinkStolen()
	if !w.searching {
		w.searching = true
		w.ex.idle.Add(oneSearching)
	}
	w.refill(batch)
	w.steal()
	w.mu.Lock()
	if w.closed || w.queue.n == 0 {
		w.awake, w.blocked, w.polling = false, false, nil
		w.mu.Unlock()
		return nil
	}
	t := w.next()
	w.mu.Unlock()
	w.endSearch()
	return t
}

// refill moves up to most tasks from the global queue to w's.
func (w *worker) refill(most int) {
	g := &w.ex.global
	g.mu.Lock()
	n := min(most, g.queue.n/len(w.ex.workers)+1)
	got := g.queue.take(w.stealBuf[:n])
	g.mu.Unlock()
	w.accept(got)
}

// steal moves half of another worker's queue to w's.
func (w *worker) steal() {
	all := w.ex.workers
	if len(all) == 1 {
		return
	}
	for i, at := 0, w.ex.nextWorker(); i < len(all); i++ {
		v := &all[(at+i)%len(all)]
		if v == w {
			continue
		}
		v.mu.Lock()
		var got []*task
		if v.forOthers() {
			got = v.queue.take(w.stealBuf[:min((v.queue.n+1)/2, len(w.stealBuf))])
		}
		v.mu.Unlock()
		if len(got) > 0 {
			w.accept(got)
			return
		}
	}
}

// forOthers reports whether w's queue has a task that w will not take out next. mu is held.
func (w *worker) forOthers() bool {
	return !w.closed && w.queue.n > 0 && (w.queue.n > 1 || w.blocked || !w.awake)
}

// accept queues what refill or steal has taken.
func (w *worker) accept(got []*task) {
	if len(got) == 0 {
		return
	}
	w.mu.Lock()
	for i, t := range got {
		w.queue.push(t)
		got[i] = nil
	}
	late := w.closed
	w.mu.Unlock()
	if late { // Close may have swept this queue before, and waits for lateSweeps
		w.lateSweeps.Add(1)
		defer w.lateSweeps.Add(-1)
		w.sweep()
	}
}

// hasWork reports whether there is a task for a worker that has none.
func (ex *Executor) hasWork() bool {
	for i := range ex.workers {
		w := &ex.workers[i]
		w.mu.Lock()
		some := w.forOthers()
		w.mu.Unlock()
		if some {
			return true
		}
	}
	ex.global.mu.Lock()
	defer ex.global.mu.Unlock()
	return ex.global.queue.n > 0
}

// watchdogTimer is the chain of watchdog calls on one clock: the process's, or that of a synctest
// bubble, if a goroutine of the bubble has started a worker. Each call arms the next one, while a
// worker of its clock is awake.
type watchdogTimer struct {
	armedAt atomic.Int64  // when the next call was armed, on its clock; 0: none is
	chain   atomic.Uint32 // a new number for each armed call: an older call ends its chain
}

// staleAfter is how late a call may be. A later one never comes: its synctest bubble has ended.
const staleAfter = int64(time.Second)

// armWatchdog arms a watchdog call on the clock of the caller's timers, if none is armed, and
// returns that clock: 1 in a synctest bubble, else 0.
func (ex *Executor) armWatchdog() (bubble int) {
	now := time.Now()
	at := int64(now.Sub(programStart)) + 1 // monotonic, outside bubbles
	if inBubble(now) {
		bubble, at = 1, now.UnixNano()
	}
	l := &ex.watchdogs[bubble]
	last := l.armedAt.Load()
	if late := at - last; last != 0 && late >= 0 && late < staleAfter {
		return bubble
	}
	if l.armedAt.CompareAndSwap(last, at) {
		bubble, chain := bubble, l.chain.Add(1) // copies: a captured result is on the heap in each call
		time.AfterFunc(watchdogInterval, func() { ex.watchdog(bubble, chain) })
	}
	return bubble
}

// inBubble reports whether t was read in a synctest bubble. Only there, time.Now has no monotonic
// reading.
func inBubble(t time.Time) bool { return t == t.Round(0) }

// watchdog finds the workers that are in the same poll as at its last call. What waits behind
// that poll is for other workers, and what such a worker has put into stolen leaves its list.
// While no worker is awake, there are no calls.
func (ex *Executor) watchdog(bubble int, chain uint32) {
	l := &ex.watchdogs[bubble]
	if l.chain.Load() != chain {
		return // this call is stale, and a newer one was armed
	}
	l.armedAt.Store(0)
	all, awake, blocked := 0, false, false
	var held []string
	var done []*task
	for i := range ex.workers {
		w := &ex.workers[i]
		w.mu.Lock()
		if w.awake {
			all++
		}
		if w.awake && w.bubble == bubble {
			awake = true
			if w.polls == w.pollsSeen {
				if w.queue.n > 0 {
					w.blocked, blocked = true, true
				}
				held = w.reportBlocked(held)
				done = w.takeStolen(done)
			}
			w.pollsSeen = w.polls
		}
		w.mu.Unlock()
	}
	ex.remove(done)
	if blocked {
		ex.startWorker(wake.Anywhere)
	}
	if awake || all < awakeOf(ex.idle.Load()) { // a counted worker may not have claimed a place yet
		ex.armWatchdog()
	}
	for _, line := range held {
		report("%s", line)
	}
}
