package wake

import (
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/trace"
)

// Tracing reports whether events are written to a trace: docs/TRACE.md.
func Tracing() bool { return trace.On }

// Debug returns the value of a key of FFIWAKERDEBUG.
func Debug(key string) string { return trace.Debug(key) }

// tracee is what the trace knows of a core.
type tracee struct {
	number  uint64
	handles atomic.Int64 // Go's, beside the one that its Context lends
}

// tracees are found by a core's address, which does not keep the core alive. A later core at the
// same address begins anew, because [Core.Made] is called for it. They stay as long as the process.
var (
	tracees sync.Map // of uintptr, *tracee
	made    atomic.Uint64
)

func (c *Core) key() uintptr {
	if w := c.weakly(); w != nil {
		return w.key
	}
	// SAFETY: the address is a key and is never followed.
	return uintptr(unsafe.Pointer(c))
}

func (c *Core) tracee() *tracee {
	if t, ok := tracees.Load(c.key()); ok {
		return t.(*tracee)
	}
	return c.Made("waker", "")
}

// Made gives c its number in the trace, and writes what it is the waker of. Only if [Tracing].
func (c *Core) Made(kind, from string) *tracee {
	t := &tracee{number: made.Add(1)}
	tracees.Store(c.key(), t)
	e := trace.New("made").Number("waker", t.number).Text("kind", kind)
	if from != "" {
		e = e.Text("from", from)
	}
	e.Write()
	return t
}

// Named gives c a name in the trace.
func (c *Core) Named(name string) {
	t := c.tracee() // first, because it may write that c was made
	trace.New("named").Number("waker", t.number).Text("name", name).Write()
}

// Trace writes an event of c, with the word as it was before.
func (c *Core) Trace(what string) { c.TraceMore(what, "", "") }

// TraceMore is Trace with one more text, unless key is "".
func (c *Core) TraceMore(what, key, value string) {
	t := c.tracee()
	e := trace.New(what).Number("waker", t.number)
	if !c.user {
		e = e.Text("word", [...]string{"EMPTY", "NOTIFIED", "PARKED"}[c.word.Load()])
	}
	e = e.Number("handles", uint64(max(t.handles.Load(), 0)))
	if key != "" {
		e = e.Text(key, value)
	}
	e.Write()
}

// traceCount is Trace of what makes or ends a handle.
func (c *Core) traceCount(what string, n int) {
	c.tracee().handles.Add(int64(n))
	c.Trace(what)
}

// traceCollected writes that a handle was collected, of a core that was collected with it.
func (t *tracee) traceCollected() {
	trace.New("collected").Number("waker", t.number).
		Number("handles", uint64(max(t.handles.Add(-1), 0))).Write()
}

// traceBox writes which box is c's.
func (c *Core) traceBox(box uintptr) {
	e := trace.New("boxed").Number("waker", c.tracee().number)
	e.Address("data", box).Address("vtable", capi.BoxVTable()).Box(box).Write()
}

// Trace writes an event of no core: of a C waker, or, if its vtable is 0, of the goroutine alone.
func Trace(what, name string, w capi.Raw) {
	e := trace.New(what)
	if name != "" {
		e = e.Text("name", name)
	}
	if w.VTable != 0 {
		w = capi.AuditInner(w)
		e = e.Address("data", w.Data).Address("vtable", w.VTable)
	}
	e.Write()
}

// TracePoll polls, and writes the two lines of a poll by write.
func TracePoll(write func(what string), poll func() (ready bool)) (ready bool) {
	write("poll")
	end := "panicked"
	defer func() { write(end) }()
	ready = poll()
	if end = "pending"; ready {
		end = "ready"
	}
	return ready
}
