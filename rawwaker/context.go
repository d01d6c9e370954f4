package rawwaker

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// Context is what a poll is given: the waker to keep. It is lent for that one poll; do not keep it, do not copy it.
type Context struct {
	waker Waker
}

// bound says whether Bind made cx, and not C or NewContext, which set link.
func (cx *Context) bound() bool { return cx.waker.link == nil && cx.waker.core != nil }

// NewContext returns a context whose waker is a view of w, for an executor of your own: consuming it panics, everything
// else goes through to w. w stays yours, and must live as long as the polls that are given the context: consumed before, it panics
// in the next poll that uses it; consumed during a poll of a C future, its reference is given up when that poll has returned.
func NewContext(w *Waker) *Context {
	if w == nil {
		panic("rawwaker: NewContext of a nil Waker")
	}
	w.live("NewContext")
	cx := new(Context)
	// SAFETY: kind view says that link is a *Waker; it is never anything else here.
	cx.waker.link = unsafe.Pointer(w)
	cx.waker.state = view
	return cx
}

// Waker returns the waker of the task that is being polled. It is borrowed: [Waker.Clone] it to keep it. Consuming it
// panics; so does using it after its task is over. A Context that was kept past its poll is misuse that only a build with
// the tag ffiwakerdebug is sure to find.
func (cx *Context) Waker() *Waker {
	if cx.bound() {
		cx.waker.core.Hand()
	}
	return &cx.waker
}

// Bind makes cx the context of c. For this module's executors; [wake.Core] cannot be named elsewhere.
func Bind(cx *Context, c *wake.Core) {
	cx.waker.core = c
	cx.waker.state = scope
}

// Diagnose has c's target told of the wakers that live. Before any use of cx.
func Diagnose(cx *Context) { cx.waker.state |= counted }

// End ends what Bind began: the task is over, its waker may not be used through cx any more, and wakes of it do nothing.
func End(cx *Context) {
	if !cx.waker.core.Handed() && !freshContexts {
		return // nobody has it
	}
	atomic.StoreUint32(&cx.waker.state, over)
	cx.waker.core.End()
}

// Unknown says whether nobody has asked for the waker of what Bind began, so that cx may serve another task.
func Unknown(cx *Context) bool { return !cx.waker.core.Handed() && !freshContexts }

// root is the [wake.Core.Root] of cx's waker.
func (cx *Context) root() *wake.Core {
	w := &cx.waker
	s := atomic.LoadUint32(&w.state)
	for k := s & kindMask; k == view || k == held; k = s & kindMask {
		w = w.other()
		s = atomic.LoadUint32(&w.state)
	}
	if k := s & kindMask &^ lent; k != core && k != user || s&gone != 0 {
		return nil
	}
	return w.core.Root()
}

// newLent returns a context for polls by C, which lend sets.
func newLent() *Context {
	cx := new(Context)
	cx.waker.state = over
	return cx
}

// lend makes cx the context of one poll by C, whose waker is w; box is the number in it, where it is one of ours. It is false
// where another poll is under way.
func (cx *Context) lend(w capi.Raw, box uint64) bool {
	if atomic.LoadUint32(&cx.waker.state) != over {
		return false
	}
	// Nobody reads these before the state says so. (Two polls that come here at once end the process, below.)
	raw := fromNumbers(w)
	c := wake.CoreOfID(box)
	relay := c != nil && c.Relay()
	if relay {
		// C may hold the future on behalf of a combinator that this waker leads to. A clone that the future keeps must not keep that
		// combinator: so it is a reference of C's, like any other.
		c = nil
	}
	cx.waker.core = c
	cx.waker.data = raw.Data
	// SAFETY: with kind foreign, and with any kind that C has lent, link is a *VTable, which lives as long as the process.
	cx.waker.link = unsafe.Pointer(raw.VTable)
	kind := lent | noop
	switch {
	case cx.waker.core != nil:
		kind = lent | kindOf(cx.waker.core)
	case relay, w.VTable != noopVTable && box == 0:
		kind = lent | foreign
	}
	return atomic.CompareAndSwapUint32(&cx.waker.state, over, kind)
}

// unlend ends what lend began. A call that another goroutine has begun on the waker comes to its end before: afterwards C may
// drop what it has lent.
func (cx *Context) unlend() {
	for {
		s := atomic.LoadUint32(&cx.waker.state)
		if s&countMask == 0 && atomic.CompareAndSwapUint32(&cx.waker.state, s, over) {
			return
		}
		runtime.Gosched()
	}
}
