package executor

import (
	"runtime"
	"sync"
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
// A task that calls runtime.Goexit ends the goroutine that ticks.
type Local struct {
	list
	inbox *wake.Inbox

	mu     sync.Mutex
	tasks  []*task
	parker *wake.Parker // of Run, from its first park on
	hook   func()
	host   *rawwaker.Waker // of WakeWith
	told   bool            // the inbox calls rouse
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
	runtime.SetFinalizer(inbox, (*wake.Inbox).Close)
	return &Local{inbox: inbox}, nil
}

// SpawnLocal makes f a task of l, and owns it. It never polls f itself, and may be called on any goroutine. After Close it drops f,
// and the handle says [ErrClosed].
func SpawnLocal[T any](l *Local, f rawwaker.Future[T]) *JoinHandle[T] {
	h := newHandle(l, f, l.inbox)
	spawn(l, &l.list, &h.task)
	return h
}

// enqueue implements owner.
func (l *Local) enqueue(t *task, at wake.Place) {
	l.mu.Lock()
	l.tasks = append(l.tasks, t)
	l.mu.Unlock()
	l.inbox.Take(at)
}

// Tick polls one runnable task. It returns false where there was none; from then on the first wake or spawn makes the
// descriptor readable and calls the hook.
func (l *Local) Tick() bool {
	for {
		l.inbox.Drain()
		if t := l.pop(); t != nil {
			t.run()
			return true
		}
		if l.inbox.Arm(l.idle) {
			return false
		}
	}
}

func (l *Local) pop() (t *task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, l.tasks = pop(l.tasks)
	return t
}

func (l *Local) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.tasks) == 0
}

// Run ticks until every task is over, and parks in between. A task that nobody wakes makes it park for ever.
func (l *Local) Run() {
	for l.wait() != nil {
		if !l.Tick() {
			l.park()
		}
	}
}

func (l *Local) park() {
	l.mu.Lock()
	if l.host != nil {
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
		l.tell()
		return // a wake may have come before: look again
	}
	p.Park(nil)
}

// tell has the inbox call rouse, from now on.
func (l *Local) tell() {
	l.mu.Lock()
	told := l.told
	l.told = true
	l.mu.Unlock()
	if told {
		return
	}
	w := weak.Make(l)
	l.inbox.OnWake(func(at wake.Place) {
		if l := w.Value(); l != nil {
			l.rouse(at)
		}
	})
}

// rouse calls whoever sleeps.
func (l *Local) rouse(at wake.Place) {
	l.mu.Lock()
	p, f := l.parker, l.hook
	l.mu.Unlock()
	if p != nil {
		p.WakeAt(at)
	}
	if f != nil {
		at.Run(f)
	}
}

// FD returns the descriptor: readable while there is something to Tick, and now and then when there is not. It is l's; do not
// read from it or close it. It panics where there is none to be had, and returns -1 after Close.
func (l *Local) FD() int {
	fd, err := l.inbox.FD()
	if err != nil {
		panic("executor: FD: " + err.Error())
	}
	return fd
}

// OnWake sets the function that the first wake or spawn calls, once, that comes after the creation of l or after a Tick that has
// returned false. f runs on any goroutine; it must not block and must not Tick. Set while something is runnable, it is called
// at once. nil takes it away.
func (l *Local) OnWake(f func()) {
	l.mu.Lock()
	l.hook = f
	host := l.host
	l.mu.Unlock()
	if host != nil {
		panic("executor: OnWake after WakeWith")
	}
	if f == nil {
		return
	}
	l.tell()
	if !l.inbox.Idle() || !l.idle() {
		f()
	}
}

// WakeWith is OnWake with a waker, which it takes over: where w is one of C, a thread of C that wakes a task wakes w itself,
// on that thread, without waiting for Go's scheduler. It is called once, before the first Tick, in place of OnWake; Run cannot be
// used then. In a build without cgo it panics.
func (l *Local) WakeWith(w *rawwaker.Waker) {
	l.mu.Lock()
	if l.told {
		l.mu.Unlock()
		panic("executor: WakeWith after OnWake, Run or WakeWith")
	}
	l.told, l.host = true, w
	l.mu.Unlock()
	data, vtable := w.Clone().IntoRaw().Words()
	l.inbox.WakeRaw(data, vtable, func(at wake.Place) { at.Run(w.WakeByRef) })
	if !l.inbox.Idle() || !l.idle() {
		w.WakeByRef()
	}
}

// Close refuses further tasks, ends those that are left with [ErrClosed], drops each of their futures exactly once, and gives the
// descriptor back. Inside a task it may be called too: that one's future is dropped when its poll returns. The error is
// always nil.
func (l *Local) Close() error {
	l.close()
	l.inbox.Close()
	l.mu.Lock()
	host := l.host
	l.host = nil
	l.mu.Unlock()
	if host != nil {
		host.Drop()
	}
	return nil
}
