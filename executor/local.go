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

// Local runs tasks on the goroutine that calls [Local.Run] or [Local.Tick], and starts no
// goroutine. An event loop waits for [Local.FD] to be readable, or for the call of the function
// given to [Local.OnWake], and then calls Tick until it returns false.
//
// Tick, TickN, TickFor, Run and RunUntil are for one goroutine at a time. Inside a task of the
// same Local they panic: await there instead. Everything else may be called on any goroutine, and
// wakes may come from any thread: a C thread that wakes a task makes the descriptor readable
// itself, without waiting for Go's scheduler.
//
// If a task calls runtime.Goexit, the goroutine that ticks ends, and another one may continue. If
// tasks are left to be polled, the hook is called and the descriptor is readable, as after any
// wake.
type Local struct {
	taskList
	in *wake.Inbox

	// Guarded by mu.
	ticking bool         // the host will look at the queue again before it sleeps
	parker  *wake.Parker // of Run, from its first park on
	hook    *wake.Call
	hosted  bool // by WakeWith
	hooked  bool // the inbox has a hook: unpark, or the waker of WakeWith
	stopped bool // Close has ended every task: Run returns

	closing closing

	// hookMu is read-locked during a call of OnWake's function; a call that cannot lock it at once
	// is left out. Close locks it to wait for such calls.
	hookMu  sync.RWMutex
	hookOff atomic.Bool // set by Close: no such call begins any more

	// Used only by the goroutine that ticks.
	ticks   int
	running bool  // a task is being polled or ended
	ended   *task // has ended, and is still on the list
}

// NewLocal returns a Local. In a build with cgo it has a descriptor, and NewLocal panics if there
// is none to be had; [OpenLocal] returns the error instead. Close gives the descriptor back; so
// does the collector, some time after the Local was forgotten.
func NewLocal() *Local {
	l, err := OpenLocal()
	if err != nil {
		panic("executor: NewLocal: " + err.Error())
	}
	return l
}

// OpenLocal is [NewLocal] with an error instead of a panic.
func OpenLocal() (*Local, error) {
	inbox, err := wake.NewInbox()
	if err != nil {
		return nil, err
	}
	// The inbox has the finalizer because nothing in it points back to it: a Local and its tasks
	// are a cycle, and cycles are not finalized. wake.Later, because what Close drops may be
	// foreign, and finalizers share one goroutine.
	runtime.SetFinalizer(inbox, func(in *wake.Inbox) { wake.Later(in.Close) })
	l := &Local{in: inbox}
	l.owner = l
	register(l)
	return l, nil
}

// SpawnLocal makes f a task of l, which owns f from then on, and returns the task's handle. It
// never polls f itself, panics if f is nil, and may be called on any goroutine. After Close it
// drops f, and the handle's error is [ErrClosed].
func SpawnLocal[T any](l *Local, f rawwaker.Future[T]) *JoinHandle[T] {
	if f == nil {
		panic("executor: SpawnLocal: nil future")
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
		panic("executor: DetachLocal: nil future")
	}
	l.mu.Lock()
	l.spawn(&l.detached(f).task)
}

// spawn queues a new task. mu is held, and is not when spawn returns.
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

// push queues t. mu is held, and is not when push returns.
func (l *Local) push(t *task, at wake.Place) {
	l.queue.push(t)
	asleep, late := !l.ticking, l.closed
	l.mu.Unlock()
	switch {
	case late: // Close sweeps until no token is in transit, so its own goroutine ends t
	case asleep:
		l.in.Take(at)
	}
}

// inbox implements owner.
func (l *Local) inbox() *wake.Inbox { return l.in }

// emptied implements owner. Run counts the tasks itself.
func (l *Local) emptied() {}

// Tick polls one runnable task and returns true. If there is none, it returns false: from then
// on, the first wake or spawn makes the descriptor readable and calls the hook.
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

// mustNotNest panics if call comes from inside a task of l.
func (l *Local) mustNotNest(call string) {
	if l.running {
		panic("executor: " + call + ": called inside a task of the same Local, or beside another Tick " +
			"(await instead)")
	}
}

// TickN ticks up to n times and returns how many tasks it has polled. If that is less than n,
// none is left, as after a Tick that returned false. Otherwise more may be left, and FD stays
// readable.
func (l *Local) TickN(n int) int {
	polled := 0
	for polled < n && l.Tick() {
		polled++
	}
	return polled
}

// TickFor ticks until d has passed, but at least once, and returns how many tasks it has polled.
// 0 means that none is left, as after a Tick that returned false. Otherwise more may be left, and
// FD stays readable. If d is not positive, TickFor does nothing and returns 0.
func (l *Local) TickFor(d time.Duration) int {
	polled := 0
	for began := time.Now(); d > 0 && l.Tick(); {
		if polled++; time.Since(began) >= d {
			break
		}
	}
	return polled
}

// pop takes out the next task. If there is none, ticking becomes false: the next wake is
// announced.
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

// empty reports whether a Tick would find nothing to poll.
func (l *Local) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.n == 0 || l.closed
}

func (l *Local) run(t *task) {
	l.running = true
	ended := true // also if run panics
	returned := false
	defer func() {
		if returned {
			l.endRun(t, ended)
			return
		}
		v := recover()
		if v == nil { // runtime.Goexit: this goroutine ends
			defer l.endTicking()
		}
		defer l.endRun(t, ended)
		t.panicked(v)
	}()
	var pending bool
	pending, ended = t.run()
	if pending {
		ended = l.suspend(t)
	}
	returned = true
}

// suspend parks t, or queues it again if it was woken while it was polled. If l was closed
// meanwhile, t has ended.
func (l *Local) suspend(t *task) (ended bool) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		t.end(closed) // Close may have swept the queue before
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

// endRun is the end of run. A task that has ended leaves the list with the next pop, which takes
// the lock anyway.
func (l *Local) endRun(t *task, ended bool) {
	l.running = false
	if ended {
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

// endTicking stops ticking on this goroutine, though no Tick has returned false: from here on,
// wakes and spawns are announced, and if tasks are queued already, that is announced now.
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

// Len returns how many tasks have not ended.
func (l *Local) Len() int { return l.count() }

// RunUntil makes f a task of l and runs l's tasks until that one has ended. It returns f's result
// at once; the other tasks stay, and may be runnable. It panics if f is nil, and with f's error,
// as [JoinHandle.Poll] does.
func RunUntil[T any](l *Local, f rawwaker.Future[T]) T {
	if f == nil {
		panic("executor: RunUntil: nil future")
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

// Run ticks until every task has ended, and parks while none is runnable. While a task is left
// that nothing wakes, it returns only after Close.
func (l *Local) Run() {
	l.mustNotNest("Run")
	l.drive(func() bool { return l.Len() == 0 })
}

// drive ticks and parks until done, which a poll makes true, or until another goroutine's Close.
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
		panic("executor: Run: called after WakeWith (the host ticks this Local)")
	}
	first := l.parker == nil
	if first {
		l.parker = wake.NewParker()
	}
	p := l.parker
	l.mu.Unlock()
	if first {
		l.hookInbox()
		return true // a wake may have come before the hook was set
	}
	p.Park(nil)
	return true
}

// hookInbox has the inbox call unpark, from now on.
func (l *Local) hookInbox() {
	l.mu.Lock()
	hooked := l.hooked
	l.hooked = true
	l.mu.Unlock()
	if hooked {
		return
	}
	w := weak.Make(l)
	l.in.OnWake(func(at wake.Place) {
		if l := w.Value(); l != nil {
			l.unpark(at)
		}
	})
}

// unpark wakes a Run that is parked, and calls the hook.
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

// stopHook waits until no call of the function of OnWake is under way; none begins any more.
// Inside such a call it does not wait.
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

// FD returns the descriptor, or -1 after Close. It is readable while there is something to Tick;
// spurious readiness is possible: Tick then returns false. It belongs to l: do not read from it
// or close it. FD panics if there is no descriptor to be had, as in a build without cgo.
func (l *Local) FD() int {
	fd, err := l.in.FD(l.empty)
	if err != nil {
		panic("executor: FD: " + err.Error())
	}
	return fd
}

// OnWake sets the function that is called when a wake or spawn finds l asleep: new, or after a
// Tick that returned false. If something is runnable already, f is called at once. A nil f
// removes it.
//
// f is called at least once for each sleep, perhaps more often, and perhaps by several goroutines
// at once, so it must be idempotent, like a send that gives up if the channel is full. It runs on
// any goroutine. It must not block, and must not Tick.
//
// Close waits for a call that is under way, so f must not need a lock that Close's caller holds.
// After Close has returned, no call begins, unless that Close was called inside f. OnWake panics
// after WakeWith.
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
		panic("executor: OnWake: called after WakeWith (a Local has one of the two)")
	}
	if f == nil {
		return
	}
	l.hookInbox()
	if !l.in.Asleep(l.empty) {
		l.callHook(f)
	}
}

// WakeWith sets a waker that is called as OnWake's function would be, and takes it over. If w is
// C's waker, a C thread that wakes a task calls w itself, on its own thread, without waiting for
// Go's scheduler: at least once for each sleep, perhaps by several threads at once.
//
// Call it once, before the first Tick, instead of OnWake and Run: after those it panics, and so
// do they after it. w is dropped when no wake calls it any more: by Close, or on a goroutine of
// this module, never inside a wake. In a build without cgo, WakeWith panics.
func (l *Local) WakeWith(w *rawwaker.Waker) {
	l.mu.Lock()
	if l.hooked {
		l.mu.Unlock()
		panic("executor: WakeWith: called after OnWake, Run or WakeWith (call it once, first)")
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

// Close ends every task with [ErrClosed], drops each of their futures exactly once, all on the
// calling goroutine, gives the descriptor back, and refuses further tasks. A Run on another
// goroutine returns. The error is always nil.
//
// It may be called inside a task, whose future is then dropped when its poll returns. About a
// second Close, and a Drop that panics or calls runtime.Goexit, see [Executor.Close].
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
