package executor

import (
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// worker has the queue of one goroutine that runs tasks. Goroutines on its CPU fill the queue;
// its own goroutine, and others that have nothing to do, empty it.
//
// A task pushed onto the empty queue of an awake worker starts no other worker: that worker sees it
// when its current poll returns, and starting another would cost more than most polls take. If the
// poll takes long, [Executor.watchdog] sees it.
type worker struct {
	taskList
	ex *Executor

	// Of mu.
	awake     bool    // it has a goroutine, which reads the queue once more before it clears this
	blocked   bool    // its poll takes long: all of its queue is for others
	polls     uint64  // how many were taken out
	pollsSeen uint64  // polls, when the watchdog last read it
	bubble    int     // 1: the goroutine belongs to a synctest bubble
	stolen    []*task // ended, to be taken off other workers' lists: up to batch of them

	lateSweeps atomic.Int32 // goroutines that sweep tasks that were queued after Close had begun

	// Of the goroutine.
	searching   bool
	running     *task               // the one that it runs or ends: a panic is this one's
	stolenCount int                 // how many it has put into stolen since it last removed those
	stealBuf    [queueCap / 2]*task // tasks that it moves; not on its stack, which would grow

	_ [64]byte
}

const (
	queueCap            = 1024 // of a worker's queue; the rest goes to the global queue
	batch               = 64
	globalQueueInterval = 61 // polls between two reads of the global queue
	watchdogInterval    = 10 * time.Millisecond
)

// idleState counts the awake workers, in the low half, and those of them that search for tasks,
// in the high half.
type idleState struct{ atomic.Uint64 }

const (
	oneAwake     uint64 = 1
	oneSearching uint64 = 1 << 32
)

func awakeOf(c uint64) int     { return int(uint32(c)) }
func searchingOf(c uint64) int { return int(c >> 32) }

// admit counts one more worker in, which searches: unless one searches, or all are awake.
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

// spawn queues a new task. mu is held, and is released.
func (w *worker) spawn(t *task) {
	if w.closed {
		w.refuse(t)
		return
	}
	w.link(t)
	w.push(t, wake.Anywhere)
}

// push queues t, and starts a worker for it if that is needed. mu is held, and is released.
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

// sweepLate sweeps on a goroutine, for which Close waits: Close may have swept here already.
func (w *worker) sweepLate(at wake.Place) {
	w.lateSweeps.Add(1)
	at.Go(func() {
		defer w.lateSweeps.Add(-1)
		w.ex.sweep()
	})
}

// startWorker starts a worker, unless all are awake or one searches.
func (ex *Executor) startWorker(at wake.Place) {
	if ex.idle.admit(len(ex.workers)) {
		at.Go(ex.runWorkerFuncs[ex.armWatchdog()])
	}
}

// runWorker is the goroutine of a worker: of w, if another goroutine has left it during a task.
// bubble: it belongs to a synctest bubble.
func (ex *Executor) runWorker(w *worker, bubble int) {
	over := false
	defer func() {
		if !over {
			go ex.runWorker(w, bubble) // a task called runtime.Goexit
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
		// A goroutine that saw this worker awake may have queued a task.
		if !ex.hasWork() || !ex.idle.admit(len(ex.workers)) {
			break
		}
		ex.armWatchdog()
	}
	over = true
}

// claim finds a worker without a goroutine. There is one for each that idleState has admitted.
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

// serve runs tasks. True: there is nothing more to do, and w is asleep. False: a task has panicked.
func (w *worker) serve() (over bool) {
	defer func() {
		if !over {
			w.contain(recover())
		}
	}()
	var polled *task // pending
	var ended *task  // has ended, and is still on its list
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
		w.running, polled, ended = t, nil, nil // a poll that lasts keeps no other task
		pending, over := t.run()
		w.running = nil
		switch {
		case pending:
			polled = t
		case over:
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

// unlinkStolen takes the tasks that w has stolen and ended off their lists.
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

// takeStolen appends what is in stolen, and empties it. mu is held.
func (w *worker) takeStolen(to []*task) []*task {
	to = append(to, w.stolen...)
	clear(w.stolen)
	w.stolen = w.stolen[:0]
	return to
}

// remove takes ended tasks off their lists, each list's in one go, and clears all.
func (ex *Executor) remove(all []*task) {
	empty := false
	for i, first := range all {
		if first == nil {
			continue
		}
		h := first.list
		h.mu.Lock()
		for j, t := range all[i:] {
			if t != nil && t.list == h {
				h.unlink(t)
				h.recycle(t)
				all[i+j] = nil
			}
		}
		empty = empty || len(h.live) == 0
		h.mu.Unlock()
	}
	if empty {
		ex.emptied()
	}
}

// maintain is called every globalQueueInterval polls: it takes tasks from the global queue, and
// makes w the workerHint of this CPU.
func (w *worker) maintain() {
	w.unlinkStolen()
	w.refill(batch / 2)
	w.ex.workerHint.Get()
	w.ex.workerHint.Put(w)
}

// pop lets polled sleep, unless it is nil, or queues it again if it was woken; removes ended from
// its list, or has that done later; and takes out the next task. It takes the lock once for all
// of that.
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
			polled.end(closed) // Close may have read the queue already
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
	w.polls++
	w.blocked = false
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

// removeEnded takes an ended task off w's list, and reports whether that is empty now. A task of
// another list waits for unlinkStolen. mu is held.
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

// endSearch ends w's search, if it searches. The last searcher that finds work checks for more
// and, if there is any, starts another.
func (w *worker) endSearch() {
	if w.searching {
		w.searching = false
		c := w.ex.idle.Add(^(oneSearching - 1))
		if searchingOf(c) == 0 && awakeOf(c) < len(w.ex.workers) && w.ex.hasWork() {
			w.ex.startWorker(wake.Anywhere)
		}
	}
}

// search takes a task from elsewhere; nil: there was none, and w is asleep.
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
	w.polls++
	w.blocked = false
	w.mu.Unlock()
	w.endSearch()
	return t
}

// refill takes some tasks from the global queue.
func (w *worker) refill(most int) {
	g := &w.ex.global
	g.mu.Lock()
	n := min(most, g.queue.n/len(w.ex.workers)+1)
	got := g.queue.take(w.stealBuf[:n])
	g.mu.Unlock()
	w.accept(got)
}

// steal takes half of another worker's queue.
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

// forOthers reports whether w's queue has a task that w itself will not take next. mu is held.
func (w *worker) forOthers() bool {
	return !w.closed && w.queue.n > 0 && (w.queue.n > 1 || w.blocked || !w.awake)
}

// accept queues the tasks that w has taken from elsewhere.
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
	if late { // Close has swept here, and waits
		w.lateSweeps.Add(1)
		defer w.lateSweeps.Add(-1)
		persist(w.sweep)
	}
}

// giveAway moves w's queue to the global queue, which every worker looks at, also one that always
// has tasks of its own and so never steals. mu is held.
func (w *worker) giveAway() {
	if w.closed {
		return
	}
	g := &w.ex.global
	g.mu.Lock()
	defer g.mu.Unlock()
	for t := w.queue.pop(); t != nil; t = w.queue.pop() {
		g.queue.push(t)
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

// watchdogTimer is the watchdog's timer of one clock: the process's, or a synctest bubble's, if a
// goroutine of the bubble has started a worker. Each check arms the next, while a worker of its
// clock is awake.
type watchdogTimer struct {
	armedAt atomic.Int64  // when the next check was armed, on its clock; 0: none is
	chain   atomic.Uint32 // the number of the check that was armed last; others do nothing
}

// staleAfter is how late a check may be. A later one never comes: its synctest bubble has ended.
const staleAfter = int64(time.Second)

// armWatchdog arms a check soon, on the clock of the caller's timers, and returns which: 1 in a
// synctest bubble.
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
		bubble, chain := bubble, l.chain.Add(1) // a copy: the result would be on the heap in each call
		time.AfterFunc(watchdogInterval, func() { ex.watchdog(bubble, chain) })
	}
	return bubble
}

// inBubble reports whether t was read in a synctest bubble: only there, time.Now has no monotonic
// reading.
func inBubble(t time.Time) bool { return t == t.Round(0) }

// watchdog checks for workers that have been in one poll since the last check. It gives what waits
// behind that poll to others, and removes what they have stolen and ended from its list. While no
// worker is awake there are no checks.
func (ex *Executor) watchdog(bubble int, chain uint32) {
	l := &ex.watchdogs[bubble]
	if l.chain.Load() != chain {
		return // it was late, and another was armed
	}
	l.armedAt.Store(0)
	all, awake, stuck := 0, false, false
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
					w.blocked, stuck = true, true
					w.giveAway()
				}
				held = w.reportBlocked(held)
				done = w.takeStolen(done)
			}
			w.pollsSeen = w.polls
		}
		w.mu.Unlock()
	}
	ex.remove(done)
	if stuck {
		ex.startWorker(wake.Anywhere)
	}
	if awake || all < awakeOf(ex.idle.Load()) { // one may be about to claim its worker
		ex.armWatchdog()
	}
	for _, line := range held {
		report("%s", line)
	}
}
