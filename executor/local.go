package executor

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Local runs tasks on the goroutine that calls [Local.Run] or [Local.Tick], and starts none itself. For an event loop: wait for
// [Local.FD] to be readable, or for the call of the function given to [Local.OnWake], and Tick until it says false.
//
// Tick and Run are for one goroutine at a time. Everything else, the wakes above all, may come from anywhere. A thread of C that
// wakes a task makes the descriptor readable itself, without waiting for Go's scheduler.
//
// A task that calls runtime.Goexit ends the goroutine that ticks; another one may go on: the hook is called, and the descriptor readable, as
// after any wake, if tasks are left to be polled. Tick, Run and RunUntil inside a task of the same Local panic: await there instead.
type Local struct {
	taskList
	in *wake.Inbox

	// Of mu.
	ticking bool         // the host will look at the queue again before it sleeps
	parker  *wake.Parker // of Run, from its first park on
	hook    *wake.Call
	hosted  bool // by WakeWith
	hooked  bool // the inbox calls unpark
	stopped bool // Close has come to its end
	closing closing

	hookMu  sync.RWMutex // read-locked, if it can be at once, while the function of OnWake is called; Close locks it
	hookOff atomic.Bool  // by Close: it is not called any more

	// Of the goroutine that ticks.
	ticks   int
	running bool  // a task is being polled or ended
	ended   *task // over, and still on the list
}

// NewLocal returns a Local. In a build with cgo it has a descriptor, and it panics where there is none to be had: [OpenLocal]
// returns the error instead. Close gives the descriptor back; so, some time later, does the collector.
func NewLocal() *Local {
	l, err := OpenLocal()
	if err != nil {
		panic("executor: NewLocal: " + err.Error())
	}
	return l
}

// OpenLocal is NewLocal with an error.
func OpenLocal() (*Local, error) {
	inbox, err := wake.NewInbox()
	if err != nil {
		return nil, err
	}
	// On the inbox, which nothing of it points back to: a Local and its tasks are a cycle, and those are not finalized.
	// Soon and not at once: what it drops may be foreign, and finalizers share one goroutine.
	runtime.SetFinalizer(inbox, func(in *wake.Inbox) { wake.Later(in.Close) })
	l := &Local{in: inbox}
	l.owner = l
	register(l)
	return l, nil
}

// SpawnLocal makes f a task of l, and owns it. It never polls f itself, and may be called on any goroutine. After Close it drops f,
// and the handle says [ErrClosed].
func SpawnLocal[T any](l *Local, f rawwaker.Future[T]) *JoinHandle[T] {
	if f == nil {
		panic("executor: SpawnLocal of a nil future")
	}
	return spawnLocal(l, f)
}

func spawnLocal[T any](l *Local, f rawwaker.Future[T]) *JoinHandle[T] {
	h := newHandle(&l.taskList, f)
	l.mu.Lock()
	l.spawn(&h.task)
	return h
}

// DetachLocal is [Detach] on a Local.
func DetachLocal(l *Local, f rawwaker.Future[struct{}]) {
	if f == nil {
		panic("executor: DetachLocal of a nil future")
	}
	l.mu.Lock()
	l.spawn(&l.detached(f).task)
}

// spawn queues a new task. mu is held, and is not when it returns.
func (l *Local) spawn(t *task) {
	if l.closed {
		l.refuse(t)
		return
	}
	l.link(t)
	l.push(t, wake.Anywhere)
}

// enqueue implements owner.
func (l *Local) enqueue(t *task, at wake.Place) {
	l.mu.Lock()
	l.push(t, at)
}

// push queues t. mu is held, and is not when it returns.
func (l *Local) push(t *task, at wake.Place) {
	l.queue.push(t)
	asleep, late := !l.ticking, l.closed
	l.mu.Unlock()
	switch {
	case late: // Close sweeps until no task is on its way into the queue, so that its goroutine ends all that nobody polls
	case asleep:
		l.in.Take(at)
	}
}

// inbox implements owner.
func (l *Local) inbox() *wake.Inbox { return l.in }

// emptied implements owner: Run looks itself.
func (l *Local) emptied() {}

// Tick polls one runnable task. It returns false where there was none; from then on the first wake or spawn makes the
// descriptor readable and calls the hook.
func (l *Local) Tick() bool {
	if l.ticks++; l.ticks%globalQueueInterval == 0 {
		l.in.Drain()
	}
	for {
		if t := l.pop(); t != nil {
			l.run(t)
			return true
		}
		l.in.Drain()
		if l.in.Arm(l.empty) {
			return false
		}
	}
}

// mustNotNest panics for a call inside a task of l.
func (l *Local) mustNotNest(call string) {
	if l.running {
		panic("executor: " + call + " inside a task of the same Local, or beside another Tick (await there instead)")
	}
}

// TickN ticks up to n times and returns how many tasks it has polled. If that is less than n, none is left, as after a Tick that
// returned false; otherwise perhaps more are left, and FD stays readable.
func (l *Local) TickN(n int) int {
	polled := 0
	for polled < n && l.Tick() {
		polled++
	}
	return polled
}

// TickFor ticks until d has passed, but once at least, and returns how many tasks it has polled. 0 means that none is left, as after
// a Tick that returned false; otherwise perhaps some are, and then FD stays readable. If d is not positive, it does nothing.
func (l *Local) TickFor(d time.Duration) int {
	polled := 0
	for began := time.Now(); d > 0 && l.Tick(); {
		if polled++; time.Since(began) >= d {
			break
		}
	}
	return polled
}

// pop takes out the next. Where there is none, the next wake takes the flag away.
func (l *Local) pop() *task {
	l.mustNotNest("Tick")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeEnded()
	if l.closed {
		l.polling = nil
		return nil
	}
	t := l.queue.pop()
	l.ticking, l.polling = t != nil, t
	return t
}

// empty says whether there is nothing for a Tick.
func (l *Local) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.n == 0 || l.closed
}

func (l *Local) run(t *task) {
	l.running = true
	over := true // panicked, or ended
	returned := false
	defer func() {
		if returned {
			l.endRun(t, over)
			return
		}
		v := recover()
		if v == nil { // runtime.Goexit: this goroutine ends, and ticks no more
			defer l.endTicking()
		}
		defer l.endRun(t, over)
		t.panicked(v)
	}()
	var pending bool
	pending, over = t.run()
	if pending {
		over = l.suspend(t)
	}
	returned = true
}

// suspend lets t go to sleep, or queues it again where it was woken while it was polled. If l was closed meanwhile, t is over.
func (l *Local) suspend(t *task) (over bool) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		t.end(closed) // Close has looked at the queue already, perhaps
		return true
	}
	polls, parked := t.park()
	if !parked {
		l.queue.push(t)
	}
	l.polling = nil
	l.mu.Unlock()
	if parked {
		t.reportLost(polls)
	}
	return false
}

// endRun is the end of run. A task that is over leaves the list with the next pop, which takes the lock anyway.
func (l *Local) endRun(t *task, over bool) {
	l.running = false
	if over {
		l.ended = t
	}
}

// removeEnded takes the task that has ended off the list. mu is held.
func (l *Local) removeEnded() {
	if t := l.ended; t != nil {
		l.ended = nil
		l.unlink(t)
		l.recycle(t)
	}
}

// endTicking is the end of ticking on this goroutine, without a Tick that has returned false: from here on a wake or spawn is announced again, and
// what is queued already is announced now.
func (l *Local) endTicking() {
	l.mu.Lock()
	l.removeEnded()
	l.ticking, l.polling = false, nil
	l.mu.Unlock()
	for l.in.Drain(); !l.in.Arm(func() bool { return true }); l.in.Drain() {
	}
	if !l.empty() {
		l.in.Take(wake.Anywhere)
	}
}

// Len is how many tasks are not over.
func (l *Local) Len() int { return l.count() }

// RunUntil runs l's tasks until f is ready, which it makes one of them, and returns f's result at once; the others stay, and may be
// runnable. It panics with f's error as [JoinHandle.Poll] does.
func RunUntil[T any](l *Local, f rawwaker.Future[T]) T {
	if f == nil {
		panic("executor: RunUntil of a nil future")
	}
	l.mustNotNest("RunUntil")
	h := spawnLocal(l, f)
	l.drive(h.IsDone)
	v, err := h.take()
	if err != nil {
		panic(err)
	}
	return v
}

// Run ticks until every task is over, and parks in between. A task that nobody wakes makes it park until Close.
func (l *Local) Run() {
	l.mustNotNest("Run")
	l.drive(func() bool { return l.Len() == 0 })
}

// drive ticks and parks until done, which a poll makes true, or another goroutine's Close.
func (l *Local) drive(done func() bool) {
	for !done() {
		if !l.Tick() && !done() && !l.sleep() {
			return
		}
	}
	l.endTicking()
}

// sleep parks until there is something to tick. False: l is closed.
func (l *Local) sleep() bool {
	l.mu.Lock()
	switch {
	case l.stopped:
		l.mu.Unlock()
		return false
	case l.hosted:
		l.mu.Unlock()
		panic("executor: Run of a Local after WakeWith: its host ticks it")
	}
	first := l.parker == nil
	if first {
		l.parker = wake.NewParker()
	}
	p := l.parker
	l.mu.Unlock()
	if first {
		l.hookInbox()
		return true // a wake may have come before: look again
	}
	p.Park(nil)
	return true
}

// hookInbox has the inbox call unpark, from now on.
func (l *Local) hookInbox() {
	l.mu.Lock()
	told := l.hooked
	l.hooked = true
	l.mu.Unlock()
	if told {
		return
	}
	w := weak.Make(l)
	l.in.OnWake(func(at wake.Place) {
		if l := w.Value(); l != nil {
			l.unpark(at)
		}
	})
}

// unpark calls whoever sleeps.
func (l *Local) unpark(at wake.Place) {
	l.mu.Lock()
	p, f := l.parker, l.hook
	l.mu.Unlock()
	if p != nil {
		p.WakeAt(at)
	}
	if f != nil {
		f.Run(at)
	}
}

// callHook calls the function of OnWake, unless Close has begun to wait for such calls.
func (l *Local) callHook(f func()) {
	if !l.hookMu.TryRLock() {
		return
	}
	defer l.hookMu.RUnlock()
	if !l.hookOff.Load() {
		f()
	}
}

// stopHook returns when no call of the function of OnWake is under way, and none begins any more. Inside one it does not wait.
func (l *Local) stopHook() {
	l.hookOff.Store(true)
	if !l.hookMu.TryLock() {
		if onStack("/ffiwaker/executor.(*Local).callHook") {
			return
		}
		l.hookMu.Lock()
	}
	l.hookMu.Unlock()
}

// FD returns the descriptor: readable while there is something to Tick, and now and then when there is not. It is l's; do not
// read from it or close it. It panics where there is none to be had, and returns -1 after Close.
func (l *Local) FD() int {
	fd, err := l.in.FD(l.empty)
	if err != nil {
		panic("executor: FD: " + err.Error())
	}
	return fd
}

// OnWake sets the function that a wake or spawn calls that finds l asleep: after the creation of l, or after a Tick that has
// returned false. It is called at least once each time, perhaps again, and perhaps by several goroutines at once; so let it do what may be done
// twice, such as a send that gives up if the channel is full. It runs on any goroutine, must not block and must not Tick. Set while something
// is runnable, it is called at once. nil takes it away. After Close has returned no call begins, unless that Close was called inside f:
// Close waits for the call that is under way, so f must not need a lock that Close's caller holds.
func (l *Local) OnWake(f func()) {
	var hook *wake.Call
	if f != nil {
		hook = wake.NewCall(func() { l.callHook(f) })
	}
	l.mu.Lock()
	hosted := l.hosted
	if !hosted {
		l.hook = hook
	}
	l.mu.Unlock()
	if hosted {
		panic("executor: OnWake after WakeWith")
	}
	if f == nil {
		return
	}
	l.hookInbox()
	if !l.in.Asleep(l.empty) {
		l.callHook(f)
	}
}

// WakeWith is OnWake with a waker, which it takes over: where w is one of C, a thread of C that wakes a task wakes w itself,
// on that thread, without waiting for Go's scheduler; at least once each time l is found asleep, perhaps by several threads at once. It is
// called once, before the first Tick, in place of OnWake; Run cannot be used then. When no wake calls it any more, w is dropped: by Close, or
// on a goroutine of the library's; never inside a wake. In a build without cgo it panics.
func (l *Local) WakeWith(w *rawwaker.Waker) {
	l.mu.Lock()
	if l.hooked {
		l.mu.Unlock()
		panic("executor: WakeWith after OnWake, Run or WakeWith")
	}
	l.hooked, l.hosted = true, true
	l.mu.Unlock()
	raw := w.Clone().IntoRaw()
	data, vtable := raw.Words()
	if !l.in.WakeRaw(data, vtable, w.WakeByRef, w.Drop) {
		rawwaker.FromRaw(raw).Drop()
		w.Drop()
		return
	}
	if !l.in.Asleep(l.empty) {
		l.in.CallHook(wake.Anywhere)
	}
}

// Close refuses further tasks, ends those that are left with [ErrClosed], drops each of their futures exactly once, and gives the
// descriptor back; all that on the calling goroutine. Inside a task it may be called too: that one's future is dropped when its poll returns.
// A Run on another goroutine returns. The error is always nil. A Close beside another one, and a Drop that panics or calls runtime.Goexit: as [Executor.Close].
func (l *Local) Close() error {
	l.closing.run(l.end)
	return nil
}

func (l *Local) end() {
	lists := l.taskLists()
	all := shut(lists)
	defer func() {
		l.in.Close()
		defer l.stopHook()
		l.mu.Lock()
		l.stopped = true
		p := l.parker
		l.mu.Unlock()
		if p != nil {
			p.Wake()
		}
	}()
	endTasks(all, l.sweep, func() bool { return inTransit(lists, all) })
}
