package executor

import (
	"runtime/debug"
	"runtime/trace"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// task is one spawned future: the header of a [JoinHandle], with which it shares one allocation.
//
// A task has one token. The goroutine that holds it may poll the task, or end it. The core's word
// shows where the token is:
//
//	Parked    in the word: the wake that takes Parked away gets the token, and queues it
//	Notified  in a queue; or held by the polling goroutine, which finds the wake after the poll
//	Empty     in a queue for the first time; or held by the goroutine that polls or ends the task;
//	          or, if the task has ended, nowhere
//
// So a task is in at most one queue, once, and is polled by one goroutine at a time. state records
// how it is to end and has ended.
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
//	aborted, closed  it is to end before it is ready; at most one of the two. Set before a wake; the
//	                 token's holder reads it before and after each poll. If it comes after the last
//	                 read it has no effect: Ready wins.
//	ending           the token's holder has begun to give the future up
//	done             the result, or the error, is written and the future is gone. There is no token
//	joined           the handle's waker is registered: the goroutine that sets done wakes it
//	taken            a poll of the handle has returned the result. Only with done
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

// taskBody is a task's handle, of any type, as the target of its core.
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

// init makes t the task of body's future. f is that future, for a diagnosis.
func (t *task) init(list *taskList, body taskBody, f any) {
	t.list = list
	t.core.InitTask(body)
	wake.Rawwaker.Bind(&t.cx, &t.core)
	t.diagnose(f)
}

func (t *task) body() taskBody { return t.core.Target().(taskBody) }

// schedule queues the task. The caller has the token.
func (t *task) schedule(at wake.Place) {
	if d := t.diag(); d != nil {
		d.wokenAt.Store(sinceStart())
	}
	t.list.owner.enqueue(t, at)
}

// requestEnd asks for the task's end; false: that was requested before, or it has ended.
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

// abort requests the task's end, and wakes it for that.
func (t *task) abort() {
	if t.requestEnd(aborted) {
		t.core.Wake()
	}
}

// endReason returns why the task is to end; nil: it is not.
func (t *task) endReason() error {
	switch s := t.state.Load(); {
	case s&aborted != 0:
		return ErrAborted
	case s&closed != 0:
		return ErrClosed
	}
	return nil
}

// run polls the task once. The caller holds the token, and keeps it. If run panics, the caller
// calls [task.panicked]. pending: the caller calls [task.park]. ended: the task has ended, and
// there is no token any more.
func (t *task) run() (pending, ended bool) {
	t.core.Clear()
	if x := t.extra; x != nil && x.scope != nil {
		x.scope.checkParent() // its context may have ended before the task was aborted
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

// park ends a poll that gave Pending. The caller holds the lock of the queue that the task was
// taken from, so a goroutine that finds the task there as the polled one can rely on it. False:
// it was woken meanwhile, and the caller still has the token. polls is for [task.reportLost].
func (t *task) park() (polls uint64, parked bool) {
	if d := t.diag(); d != nil {
		polls = d.polls.Load()
	}
	return polls, t.core.Sleep()
}

// panicked ends a task whose run panicked with v, or called Goexit if v is nil.
func (t *task) panicked(v any) {
	if t.state.Load()&(ending|done) == 0 {
		t.cancel(&PanicError{Value: v, Stack: debug.Stack()})
	}
}

// end ends the task. The caller holds the token and does not poll.
func (t *task) end(why uint32) {
	t.requestEnd(why) // it may have been requested before
	t.cancel(t.endReason())
}

// cancel ends a task that was not ready: it drops the future first. A panic there becomes the
// outcome, unless the future had panicked before. A Goexit continues after the task has ended.
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

// complete writes the outcome to the handle and the scope, also if a waker of the handle calls
// runtime.Goexit.
func (t *task) complete(err error) {
	wake.Rawwaker.End(&t.cx)
	if x := t.extra; x != nil && x.scope != nil {
		defer x.scope.taskCompleted(t, err)
	}
	if err != nil && wake.Tracing() {
		t.core.TraceMore("ended", "error", firstLine(err))
	}
	if t.state.Load()&refused == 0 {
		t.list.unfinished.Add(-1) // before the handle is woken: its poller finds the task counted out
	}
	t.body().complete(err)
}

// PanicError is the error of a task whose Poll panicked, or whose future's Drop did.
type PanicError = rawwaker.PanicError
