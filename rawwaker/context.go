package rawwaker

import (
	"runtime"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// Context holds the waker of the task that is being polled. It is lent for that one poll: do not
// keep it, and do not copy it.
type Context struct {
	waker Waker
}

// bound reports whether an executor of this module bound cx. C and NewContext set link.
func (cx *Context) bound() bool { return cx.waker.link == nil && cx.waker.core != nil }

// NewContext returns a context for polls by an executor of your own. Its waker is a view of w:
// consuming it panics, all other calls go to w.
//
// The caller keeps w, and must not consume it before the last poll with the context. If it does,
// the next poll that uses the waker panics; if that happens during a poll of a C future, the
// reference is given up when that poll has returned. NewContext panics if w is nil or was
// consumed.
func NewContext(w *Waker) *Context {
	if w == nil {
		panic("rawwaker: NewContext of a nil Waker")
	}
	w.live("NewContext")
	cx := new(Context)
	// SAFETY: kind view says that link is a *Waker; it is never anything else here.
	cx.waker.link = unsafe.Pointer(w)
	cx.waker.state.init(view)
	return cx
}

// Waker returns the waker of the task that is being polled. It is borrowed: [Waker.Clone] it to
// keep it. Consuming it panics, as does using it after its task has ended. Only a build with the
// tag ffiwakerdebug is certain to find a Context that was kept past its poll.
func (cx *Context) Waker() *Waker {
	if cx.bound() {
		cx.waker.core.MarkEscaped()
	}
	return &cx.waker
}

// bind, diagnose and end are for this module's executors: see wake.Rawwaker.
func (cx *Context) bind(c *wake.Core) {
	cx.waker.core = c
	cx.waker.state.init(scope)
}

func (cx *Context) diagnose() { cx.waker.state.init(scope | counted) }

func (cx *Context) end() {
	if !cx.waker.core.Escaped() {
		return // no other goroutine has it
	}
	cx.waker.state.end()
	cx.waker.core.End()
}

func init() {
	wake.Rawwaker.Bind = func(cx any, c *wake.Core) { cx.(*Context).bind(c) }
	wake.Rawwaker.Diagnose = func(cx any) { cx.(*Context).diagnose() }
	wake.Rawwaker.End = func(cx any) { cx.(*Context).end() }
}

// resolve follows w to the Waker that it stands for.
func (w *Waker) resolve() (*Waker, snapshot) {
	s := w.state.load()
	for k := s.kind(); k == view || k == held; k = s.kind() {
		w = w.other()
		s = w.state.load()
	}
	return w, s
}

// root is the [wake.Core.Root] of cx's waker.
func (cx *Context) root() *wake.Core {
	w, s := cx.waker.resolve()
	if k := s.owned(); k != core && k != user || s.isConsumed() {
		return nil
	}
	return w.core.Root()
}

// subject is what cx's waker wakes: a core, or two words of C.
func (cx *Context) subject() (*wake.Core, capi.Raw) {
	w, s := cx.waker.resolve()
	switch s.owned() {
	case core, user:
		return w.core, capi.Raw{}
	case noop:
		if !capi.HasCgo {
			return nil, capi.Raw{}
		}
		return nil, capi.Noop()
	}
	return nil, w.raw().numbers()
}

// newLent returns a context for polls by C; lend sets it for each.
func newLent() *Context {
	cx := new(Context)
	cx.waker.state.init(ended)
	return cx
}

// lend makes cx the context of one poll by C under the waker w; box is the number in w's box, or 0.
// False: another poll is under way.
func (cx *Context) lend(w capi.Raw, box uint64) bool {
	if cx.waker.state.load() != ended {
		return false
	}
	// No goroutine reads these before the state says so. (Two polls at once end the process,
	// below.)
	raw := fromNumbers(w)
	// C may hold the future for a combinator, or for a task of a Local, that this waker leads to. A
	// clone that the future keeps must not keep those alive.
	c, relay := wake.Lender(box)
	cx.waker.core = c
	cx.waker.data = raw.Data
	// SAFETY: with kind foreign, and with any kind that C has lent, link is a *VTable, which
	// lives as long as the process.
	cx.waker.link = unsafe.Pointer(raw.VTable)
	kind := lent | noop
	switch {
	case c != nil:
		kind = lent | kindOf(c)
	case relay, w.VTable != noopVTable && box == 0:
		kind = lent | foreign
	}
	return cx.waker.state.lend(kind)
}

// unlend ends what lend began. It waits for calls that other goroutines have begun on the waker:
// after it, C may drop what it has lent.
func (cx *Context) unlend() {
	for !cx.waker.state.unlend() {
		runtime.Gosched()
	}
}

// pollRaw polls a C future under cx's waker.
func (cx *Context) pollRaw(f capi.Raw, out uintptr, note *uintptr) capi.Polled {
	if cx.bound() && cx.waker.state.load()&^counted == scope {
		return cx.waker.core.PollRaw(f, out, note)
	}
	// Of NewContext, or lent by C: another thread may consume the waker, or end its task,
	// meanwhile.
	b := cx.waker.borrow()
	defer b.giveBack()
	return capi.PollUnder(b.raw.numbers(), f, out, note)
}
