package executor

import (
	"runtime/debug"
	"runtime/trace"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// task is one spawned future: the header of a [JoinHandle], with which it shares its one allocation.
//
// Who may poll it, or end it, is who holds the task's one token. The core's word says where the token is:
//
//	Parked    in the word itself: the wake that takes Parked away has the token, and queues it
//	Notified  in a queue; or with the goroutine that polls, which will find the wake when the poll is over
//	Empty     in a queue for the first time; with the goroutine that polls it or ends it; or, when the task is over, nowhere
//
// So a task is in one queue at most, once, and is polled by one goroutine at a time. state says what is to come of it.
type task struct {
	core  wake.Core
	cx    rawwaker.Context
	state atomic.Uint32
	list  *taskList
	index int        // in the list
	extra *taskExtra // nil for most
}

// The bits of state. Each is set once and stays.
//
//	aborted, closed  it is to end before it is ready; at most one of the two. Set before a wake, looked at by who holds the
//	                 token before each poll and after it. One that comes after the last look does nothing: Ready wins.
//	ending           who holds the token has begun to give the future up
//	done             the result, or the error, is there; the future is gone. The token has vanished
//	joined           the handle's waker is registered: who sets done wakes it
//	taken            a poll of the handle has returned the result; of the handle's poller. Only with done
//	refused          it was spawned after Close, and is on no list. Set before it ends
const (
	aborted uint32 = 1 << iota
	closed
	ending
	done
	joined
	taken
	refused
)

// taskBody is a task's handle, of whatever type, as the target of its core.
type taskBody interface {
	wake.Task
	wake.Counter
	poll(cx *rawwaker.Context) (ready bool)
	drop()
	complete(err error)
}

// owner is the executor of a task.
type owner interface {
	enqueue(t *task, at wake.Place) // it was woken; the token comes with it
	inbox() *wake.Inbox
	emptied() // a list has become empty
}

// init makes t the task of a future that body knows. f is that future again, for a diagnosis.
func (t *task) init(list *taskList, body taskBody, f any) {
	t.list = list
	t.core.InitTask(body)
	wake.Rawwaker.Bind(&t.cx, &t.core)
	t.diagnose(f)
}

func (t *task) body() taskBody { return t.core.Target().(taskBody) }

// schedule queues the task: the caller has the token.
func (t *task) schedule(at wake.Place) {
	if d := t.diag(); d != nil {
		d.wokenAt.Store(sinceStart())
	}
	t.list.owner.enqueue(t, at)
}

// requestEnd asks for the task's end; false: somebody has, or it is over.
func (t *task) requestEnd(why uint32) bool {
	for {
		s := t.state.Load()
		if s&(aborted|closed|ending|done) != 0 {
			return false
		}
		if t.state.CompareAndSwap(s, s|why) {
			return true
		}
	}
}

// abort asks for the task's end, and wakes it for that.
func (t *task) abort() {
	if t.requestEnd(aborted) {
		t.core.Wake()
	}
}

// endReason is why the task is to end; nil: it is not.
func (t *task) endReason() error {
	switch s := t.state.Load(); {
	case s&aborted != 0:
		return ErrAborted
	case s&closed != 0:
		return ErrClosed
	}
	return nil
}

// run polls the task once, for who holds the token, and keeps it. Where that panics, [task.panicked] must be called. pending: [task.park] is
// to follow. ended: the task has, and the token is gone.
func (t *task) run() (pending, ended bool) {
	t.core.Clear()
	if x := t.extra; x != nil && x.scope != nil {
		x.scope.checkParent() // its context may have ended, and nobody has aborted the task yet
	}
	if why := t.endReason(); why != nil {
		t.cancel(why)
		return false, true
	}
	var ready bool
	if t.extra == nil && !trace.IsEnabled() {
		ready = t.body().poll(&t.cx)
	} else {
		ready = t.pollTraced()
	}
	if ready {
		t.complete(nil)
		return false, true
	}
	if why := t.endReason(); why != nil {
		t.cancel(why)
		return false, true
	}
	return true, false
}

// park is the end of a poll that gave Pending, under the lock of the queue that it was taken from: whoever finds the task there as the one
// that is polled can rely on it. False: it was woken meanwhile, the token is still the caller's. polls is for [task.asleep].
func (t *task) park() (polls uint64, parked bool) {
	if d := t.diag(); d != nil {
		polls = d.polls.Load()
	}
	return polls, t.core.Sleep()
}

// panicked ends a task out of whose run a panic came, or a Goexit, where v is nil.
func (t *task) panicked(v any) {
	if t.state.Load()&(ending|done) == 0 {
		t.cancel(&PanicError{Value: v, Stack: debug.Stack()})
	}
}

// end ends the task, for who holds the token and does not poll.
func (t *task) end(why uint32) {
	t.requestEnd(why) // or it was requested before
	t.cancel(t.endReason())
}

// cancel ends a task that has not been ready: its future is dropped first. A panic there becomes the outcome, where the future has not
// panicked before; a Goexit goes on when the task is over.
func (t *task) cancel(why error) {
	t.state.Or(ending)
	returned := false
	defer func() {
		if !returned {
			v := recover()
			if _, before := why.(*PanicError); !before {
				why = &PanicError{Value: v, Stack: debug.Stack()}
			}
		}
		t.complete(why)
	}()
	t.body().drop()
	returned = true
}

// complete tells the handle, and the scope, also where a waker of the handle's calls runtime.Goexit.
func (t *task) complete(err error) {
	wake.Rawwaker.End(&t.cx)
	if x := t.extra; x != nil && x.scope != nil {
		defer x.scope.taskCompleted(t, err)
	}
	if err != nil && wake.Tracing() {
		t.core.TraceMore("ended", "error", firstLine(err))
	}
	if t.state.Load()&refused == 0 {
		t.list.unfinished.Add(-1) // before the handle is woken: who awaits it finds the task counted out
	}
	t.body().complete(err)
}

// PanicError is the error of a task whose Poll panicked, or whose future's Drop did.
type PanicError = rawwaker.PanicError
