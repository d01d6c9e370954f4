package executor

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

var (
	// ErrAborted is what came of a task that [JoinHandle.Abort] ended.
	ErrAborted = errors.New("executor: task aborted")
	// ErrClosed is what came of a task that Close ended, or that was spawned after.
	ErrClosed = errors.New("executor: closed")
)

// PanicError is what came of a task whose Poll panicked.
type PanicError struct {
	Value any // what it panicked with; nil: it called runtime.Goexit
	Stack []byte
}

func (e *PanicError) Error() string {
	if e.Value == nil {
		return "executor: task called runtime.Goexit"
	}
	return fmt.Sprintf("executor: task panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap gives the error that the task panicked with, where it was one.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// owner is the executor of a task.
type owner interface {
	enqueue(t *task, at wake.Place) // t was woken
	remove(t *task)                 // t is over
}

// task is one spawned future. Its core's word says whether it is woken. turn says whose it is:
//
//	waiting  nobody's: whoever takes it to running by compare-and-swap may poll or end it
//	running  of one goroutine, which polls it or ends it
//	over     for ever
//
// ending is why it is to end before it is ready; set once, before a wake. Whoever runs the task looks at it before and after
// the poll, so the future is dropped by one goroutine, and never beside a poll.
type task struct {
	core   wake.Core
	cx     rawwaker.Context
	turn   atomic.Uint32
	ending atomic.Pointer[error]
	of     owner
	f      work

	prev, next *task // of the owner's list of live tasks
}

const (
	waiting uint32 = iota
	running
	over
)

// work is a task's future and its handle, of whatever type.
type work interface {
	poll(cx *rawwaker.Context) (ready bool)
	drop()
	finish(err error)
}

func (t *task) init(of owner, f work, inbox *wake.Inbox) {
	t.of, t.f = of, f
	t.core.InitAt(t, inbox)
	t.core.Parked()
	rawwaker.Bind(&t.cx, &t.core)
}

// Rouse implements [wake.Target].
func (t *task) Rouse(at wake.Place) { t.of.enqueue(t, at) }

// end asks for the task's end.
func (t *task) end(why error) {
	t.ending.CompareAndSwap(nil, &why)
	t.core.Wake()
}

// take is true for one caller, until it has run or ended the task.
func (t *task) take() bool { return t.turn.CompareAndSwap(waiting, running) }

// run polls the task once. It returns having asked for the next turn, where there is to be one.
func (t *task) run() {
	if !t.take() {
		return // over, or Close is ending it
	}
	t.core.Consume()
	if t.ending.Load() == nil && !t.poll() {
		t.turn.Store(waiting)
		// Whoever set ending before that store found the task running, and left it to us.
		if why := t.ending.Load(); why != nil {
			if t.take() {
				t.close(*why)
			}
		} else if !t.core.Sleep() {
			t.of.enqueue(t, wake.Anywhere)
		}
		return
	}
	if why := t.ending.Load(); why != nil && t.turn.Load() != over {
		t.close(*why)
	}
}

// poll says whether the task came to its end.
func (t *task) poll() (ended bool) {
	returned := false
	defer func() {
		if !returned {
			v := recover() // nil: Goexit goes on after this
			t.close(&PanicError{v, debug.Stack()})
			ended = true
		}
	}()
	ready := t.f.poll(&t.cx)
	returned = true
	if ready {
		t.finish(nil)
		return true
	}
	return t.ending.Load() != nil
}

// close ends a task that has not been ready: its future is dropped first.
func (t *task) close(why error) {
	returned := false
	defer func() {
		if !returned {
			v := recover()
			if _, panicked := why.(*PanicError); !panicked {
				why = &PanicError{v, debug.Stack()}
			}
		}
		t.finish(why)
	}()
	t.f.drop()
	returned = true
}

// finish tells the handle and the executor.
func (t *task) finish(err error) {
	t.turn.Store(over)
	rawwaker.End(&t.cx)
	f := t.f
	t.f = nil
	f.finish(err)
	t.of.remove(t)
}

// JoinHandle is a spawned task, seen from outside: a future of its result. To let go of it detaches the task. It may be polled
// by one goroutine at a time, and like any future once to its end.
type JoinHandle[T any] struct {
	task  task
	f     rawwaker.Future[T]
	waker rawwaker.AtomicWaker
	ended atomic.Bool // after value and err
	taken bool
	value T
	err   error
}

// Poll implements [rawwaker.Future]. It panics with the error of a task that panicked ([*PanicError]), was aborted
// ([ErrAborted]) or refused ([ErrClosed]).
func (h *JoinHandle[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	if !h.join(cx) {
		return rawwaker.Pending[T]()
	}
	if h.err != nil {
		panic(h.err)
	}
	return rawwaker.Ready(h.value)
}

// Outcome is the handle as a future that does not panic: the error is in the result.
func (h *JoinHandle[T]) Outcome() rawwaker.Future[rawwaker.Result[T]] { return outcome[T]{h} }

type outcome[T any] struct{ h *JoinHandle[T] }

func (o outcome[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Result[T]] {
	if !o.h.join(cx) {
		return rawwaker.Pending[rawwaker.Result[T]]()
	}
	return rawwaker.Ready(rawwaker.Result[T]{Value: o.h.value, Err: o.h.err})
}

func (h *JoinHandle[T]) join(cx *rawwaker.Context) bool {
	if h.taken {
		panic("future polled after completion")
	}
	h.waker.Register(cx.Waker())
	if !h.ended.Load() {
		return false
	}
	h.taken = true
	h.waker.Drop()
	return true
}

// Abort ends the task with [ErrAborted], unless it is over. A poll in progress is not interrupted; if it is ready, Ready wins. Abort
// may be called more than once, on any goroutine, and does not wait.
func (h *JoinHandle[T]) Abort() { h.task.end(ErrAborted) }

// worked is a JoinHandle as its task knows it.
type worked[T any] struct{ *JoinHandle[T] }

func (h worked[T]) poll(cx *rawwaker.Context) bool {
	p := h.f.Poll(cx)
	if !p.IsReady() {
		return false
	}
	h.value = p.Value()
	return true
}

func (h worked[T]) drop() {
	if d, ok := h.f.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

func (h worked[T]) finish(err error) {
	h.f, h.err = nil, err
	h.ended.Store(true)
	h.waker.Wake()
}

// newHandle makes a task of an executor that is open; refused, one that ends at once.
func newHandle[T any](of owner, f rawwaker.Future[T], inbox *wake.Inbox) *JoinHandle[T] {
	h := &JoinHandle[T]{f: f}
	h.task.init(of, worked[T]{h}, inbox)
	return h
}

// list is the live tasks of an executor.
type list struct {
	mu     sync.Mutex
	root   *task
	live   int
	closed bool
	idle   chan struct{} // closed when none is live; nil while nobody waits
}

// add is false where the executor is closed.
func (l *list) add(t *task) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	if t.next = l.root; t.next != nil {
		t.next.prev = t
	}
	l.root = t
	l.live++
	return true
}

func (l *list) remove(t *task) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if t.prev == nil && t.next == nil && l.root != t {
		return // it was refused
	}
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		l.root = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	if l.live--; l.live == 0 && l.idle != nil {
		close(l.idle)
		l.idle = nil
	}
}

// Len is how many tasks are not over.
func (l *list) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live
}

// wait is closed when no task is live; nil: none is.
func (l *list) wait() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live == 0 {
		return nil
	}
	if l.idle == nil {
		l.idle = make(chan struct{})
	}
	return l.idle
}

// close refuses further tasks and ends those that are live: at once those that nobody runs.
func (l *list) close() {
	l.mu.Lock()
	l.closed = true
	var all []*task
	for t := l.root; t != nil; t = t.next {
		all = append(all, t)
	}
	l.mu.Unlock()
	for _, t := range all {
		why := ErrClosed
		t.ending.CompareAndSwap(nil, &why)
		if t.take() { // else whoever runs it looks at ending when the poll is over
			t.close(*t.ending.Load())
		}
	}
}
