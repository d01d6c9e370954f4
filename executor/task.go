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
// A task has one token. Only its holder may poll the task or end it. The core's word shows where
// the token is:
//
//	Parked    in the word: the wake that takes Parked away has the token, and queues the task
//	Notified  in a queue; or with the poller, which finds the wake at the end of the poll
//	Empty     in a queue for the first time; with the goroutine that polls the task or ends it; or
//	          gone, if the task has ended
//
// So a task is in one queue at most, once, and one goroutine at a time polls it. state is what
// becomes of it.
type task struct {
	core  wake.Core
	cx    rawwaker.Context
	state atomic.Uint32
	list  *taskList
	index int        // in list.live
	extra *taskExtra // a scope or a diagnosis; nil for most tasks
}

// The bits of state. Each is set once and never cleared.
//
//   - aborted, closed: the task is to end before it is ready; at most one of the two. Set before a
//     wake. The token's holder reads them before each poll and after it: if the poll after the last
//     read is ready, Ready wins.
//   - ending: the token's holder has begun to drop the future.
//   - done: the result or the error is there, and the future is gone. The token has vanished.
//   - joined: the handle's waker is registered. The goroutine that sets done wakes it.
//   - taken: a poll of the handle has returned the result. Set by the handle's poller, after done.
//   - refused: spawned after Close, and on no list. Set before the task ends.
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
	enqueue(t *task, at wake.Place) // t was woken; the caller passes its token on
	inbox() *wake.Inbox
	emptied() // a list of the owner has become empty
}

// init makes t the task of body, whose future is f: a diagnosis asks f for its spawn site.
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

// requestEnd asks for the end of the task. False: that was asked for before, or the task is ending.
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

// abort asks for the end of the task, and wakes the task so that it ends.
func (t *task) abort() {
	if t.requestEnd(aborted) {
		t.core.Wake()
	}
}

// endReason returns the error with which the task is to end, or nil.
func (t *task) endReason() error {
	switch s := t.state.Load(); {
	case s&aborted != 0:
		return ErrAborted
	case s&closed != 0:
		return ErrClosed
	}
	return nil
}

// run polls the task once. The caller has the token, and keeps it. If run panics, the caller must
// call panicked. If pending, the caller must call park. If ended, the task has ended, and its
// token is gone.
func (t *task) run() (pending, ended bool) {
	t.core.Clear()
	if x := t.extra; x != nil && x.scope != nil {
		x.scope.checkParent() // if the context has ended, this aborts the task now
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

// park ends a poll that returned Pending. The caller holds the lock of the queue that the task was
// taken from, so that Close can rely on what it finds there as the polled task. False: the task was
// woken meanwhile, and the caller still has the token. polls is for reportLost.
func (t *task) park() (polls uint64, parked bool) {
	if d := t.diag(); d != nil {
		polls = d.polls.Load()
	}
	return polls, t.core.Sleep()
}

// panicked ends a task whose run did not return: v is its panic, or nil after runtime.Goexit.
func (t *task) panicked(v any) {
	if t.state.Load()&(ending|done) == 0 {
		t.cancel(&PanicError{Value: v, Stack: debug.Stack()})
	}
}

// end ends the task without a poll. The caller has the token.
func (t *task) end(why uint32) {
	t.requestEnd(why) // or its end was requested before
	t.cancel(t.endReason())
}

// cancel drops the future of a task that has not been ready, and completes the task with why. A
// panic of the Drop becomes the outcome, unless the future has panicked before. A runtime.Goexit
// continues when the task has ended.
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

// complete reports the end to the handle and to the scope. The scope learns it even if a waker of
// the handle calls runtime.Goexit.
func (t *task) complete(err error) {
	wake.Rawwaker.End(&t.cx)
	if x := t.extra; x != nil && x.scope != nil {
		defer x.scope.taskCompleted(t, err)
	}
	if err != nil && wake.Tracing() {
		t.core.TraceMore("ended", "error", firstLine(err))
	}
	if t.state.Load()&refused == 0 {
		t.list.unfinished.Add(-1) // before the handle is woken, so that Len is right for its awaiter
	}
	t.body().complete(err)
}

// PanicError is the error of a task whose Poll panicked, or whose future's Drop did.
type PanicError = rawwaker.PanicError
