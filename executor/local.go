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

// Local runs tasks on the goroutine that calls [Local.Run] or [Local.Tick], and starts none itself.
//
// In an event loop, wait until [Local.FD] is readable, or until the function given to
// [Local.OnWake] is called, and then call Tick until it returns false. A C thread that wakes a
// task makes the descriptor readable itself, without waiting for Go's scheduler.
//
// One goroutine at a time may call Tick and Run; any goroutine or thread may call the rest.
// Inside a task of the same Local, Tick, Run and RunUntil panic: await there instead. If a task
// calls runtime.Goexit, that ends the ticking goroutine. Another may tick then: if tasks are left
// to be polled, the hook is called and the descriptor is readable, as after any wake.
type Local struct {
	taskList
	in *wake.Inbox

	// Of mu.
	ticking bool         // the host reads the queue again before it sleeps
	parker  *wake.Parker // of Run, from its first park on
	hook    *wake.Call
	hosted  bool // by WakeWith
	hooked  bool // the inbox calls unpark
	stopped bool // Close has ended all tasks
	closing closing

	hookMu  sync.RWMutex // read-locked while OnWake's function is called; Close locks it
	hookOff atomic.Bool  // set by Close: OnWake's function is not called any more

	// Of the goroutine that ticks.
	ticks   int
	running bool  // a task is being polled or ended
	ended   *task // has ended, and is still on the list
}

// NewLocal returns a Local. In a build with cgo it has a descriptor. It panics if none can be
// had; [OpenLocal] returns the error instead. Close closes the descriptor, as does the garbage
// collector, some time after the Local was forgotten.
func NewLocal() *Local {
	l, err := OpenLocal()
	if err != nil {
		panic("executor: NewLocal: " + err.Error())
	}
	return l
}

// OpenLocal is [NewLocal] with an error.
func OpenLocal() (*Local, error) {
	inbox, err := wake.NewInbox()
	if err != nil {
		return nil, err
	}
	// On the inbox, because it points to neither: a Local and its tasks are a cycle, and the
	// runtime finalizes none of a cycle. Later, because what it drops may be foreign, and
	// finalizers share one goroutine.
	runtime.SetFinalizer(inbox, func(in *wake.Inbox) { wake.Later(in.Close) })
	l := &Local{in: inbox}
	l.owner = l
	register(l)
	return l, nil
}

// SpawnLocal makes f a task of l, and owns it. It never polls f itself. Any goroutine may call it.
// After Close it drops f, and the handle gives [ErrClosed]. It panics if f is nil.
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

// spawn queues a new task. mu is held, and is released.
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

// push queues t. mu is held, and is released.
func (l *Local) push(t *task, at wake.Place) {
	l.queue.push(t)
	asleep, late := !l.ticking, l.closed
	l.mu.Unlock()
	switch {
	case late: // Close sweeps until no task is on its way into the queue, so it ends this one
	case asleep:
		l.in.Take(at)
	}
}

// inbox implements owner.
func (l *Local) inbox() *wake.Inbox { return l.in }

// emptied implements owner: Run checks by itself.
func (l *Local) emptied() {}

// Tick polls one runnable task. It returns false if there was none; from then on, the first wake or
// spawn makes the descriptor readable and calls the hook.
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
		panic("executor: " + call + " inside a task of the same Local, or beside another Tick " +
			"(await there instead)")
	}
}

// TickN ticks up to n times and returns how many tasks it has polled. If that is less than n, no
// runnable task is left, as after a Tick that returned false. Else more may be left, and FD stays
// readable.
func (l *Local) TickN(n int) int {
	polled := 0
	for polled < n && l.Tick() {
		polled++
	}
	return polled
}

// TickFor ticks until d has passed, at least once, and returns how many tasks it has polled. 0: no
// runnable task is left, as after a Tick that returned false. Else more may be left, and FD stays
// readable. If d is not positive, it does nothing.
func (l *Local) TickFor(d time.Duration) int {
	polled := 0
	for began := time.Now(); d > 0 && l.Tick(); {
		if polled++; time.Since(began) >= d {
			break
		}
	}
	return polled
}

// pop takes out the next task; nil: there is none.
func (l *Local) pop() *task {
	l.mustNotNest("Tick")
	l.mu.Lock()
	defer l.mu.Unlock()
	l.removeEnded()
	if l.closed {
		l.polling = nil
		return nil
	}
	t := l.next()
	l.ticking = t != nil
	return t
}

// empty reports whether there is nothing for a Tick.
func (l *Local) empty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.n == 0 || l.closed
}

// run runs a task. If that calls runtime.Goexit, in whatever order with panics, this goroutine ends
// and does not tick again.
func (l *Local) run(t *task) {
	l.running = true
	returned := false
	defer func() {
		if !returned {
			l.endTicking()
		}
	}()
	l.contain(t)
	returned = true
}

// contain runs a task, and recovers its panic. A Goexit before that panic, or in a Drop after it,
// still continues: only the caller sees that.
func (l *Local) contain(t *task) {
	over := true // it has panicked or ended
	returned := false
	defer func() {
		if returned {
			l.endRun(t, over)
			return
		}
		defer l.endRun(t, over)
		t.panicked(recover())
	}()
	var pending bool
	pending, over = t.run()
	if pending {
		over = l.suspend(t)
	}
	returned = true
}

// suspend lets t sleep, or queues it again if it was woken during its poll. If l was closed
// meanwhile, it ends t.
func (l *Local) suspend(t *task) (over bool) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		t.end(closed) // Close may have read the queue already
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

// endRun ends run. A task that has ended leaves the list at the next pop, which takes the lock
// anyway.
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

// endTicking ends the ticking of this goroutine without a Tick that has returned false. From here
// on a wake or spawn is announced again; what is already queued is announced now.
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

// RunUntil spawns f on l and runs l's tasks until f is ready, and returns f's result at once. The
// other tasks stay, and may be runnable. Like [JoinHandle.Poll], it panics with f's error. It
// panics if f is nil.
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

// Run ticks until every task has ended, and parks when none is runnable. If a task is never
// woken, Run returns only after Close.
func (l *Local) Run() {
	l.mustNotNest("Run")
	l.drive(func() bool { return l.Len() == 0 })
}

// drive ticks and parks until done returns true, after a poll, or another goroutine has called
// Close.
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
		return true // a wake may have come before: read the queue again
	}
	p.Park(nil)
	return true
}

// hookInbox has the inbox call unpark from now on.
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

// unpark wakes Run's parker, and calls the function of OnWake.
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

// stopHook returns when no call of OnWake's function is running and none will begin. Inside such
// a call it does not wait.
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

// FD returns the descriptor, which is readable while there is something to Tick, and sometimes
// spuriously. It belongs to l: do not read from it or close it. FD panics if no descriptor can be
// had, and returns -1 after Close.
func (l *Local) FD() int {
	fd, err := l.in.FD(l.empty)
	if err != nil {
		panic("executor: FD: " + err.Error())
	}
	return fd
}

// OnWake sets the function that a wake or spawn calls if it finds l asleep: after l was created,
// or after a Tick has returned false. If something is runnable now, it is called at once. nil
// removes it.
//
// It is called at least once each time, perhaps again, and perhaps by several goroutines at once,
// so it must be idempotent, such as a send that gives up if the channel is full. It runs on any
// goroutine, must not block and must not Tick. After Close has returned, no call begins, unless
// that Close was called inside f. Close waits for a running call, so f must not need a lock that
// the caller of Close holds.
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

// WakeWith is OnWake with a waker, which l owns from then on. If w is a C waker, a C thread that
// wakes a task wakes w itself, on that thread, without waiting for Go's scheduler: at least once
// each time l is found asleep, perhaps by several threads at once.
//
// It is called once, before the first Tick, instead of OnWake; Run cannot be used then. When no
// wake uses w any more, w is dropped: by Close, or on a goroutine of the library's, never inside
// a wake. It panics in a build without cgo.
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

// Close ends the tasks that are left, with [ErrClosed], drops each of their futures exactly once,
// closes the descriptor, and refuses further tasks. It does all of that on the calling goroutine.
// It may be called inside a task, whose future is then dropped when its poll returns. A Run on
// another goroutine returns. Close always returns nil. For a Close beside another one, and for a
// Drop that panics or calls runtime.Goexit, see [Executor.Close].
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
