package wake

import (
	"strconv"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// Tracing says whether what happens is written down: docs/TRACE.md.
func Tracing() bool { return capi.Tracing }

// Debug is the value of a key of FFIWAKERDEBUG.
func Debug(key string) string { return capi.Debug(key) }

// tracee is what a trace knows of a core.
type tracee struct {
	number  uint64
	handles atomic.Int64 // Go's, beside the one that its Context lends
}

// tracees are found by a core's address, which keeps none alive; a later core at the same place begins anew, for whoever makes one calls [Core.Made].
// They stay as long as the process: a trace is for minutes.
var (
	tracees sync.Map // of uintptr, *tracee
	made    atomic.Uint64
)

// SAFETY: the address is a key and is never followed.
func (c *Core) key() uintptr { return uintptr(unsafe.Pointer(c)) }

func (c *Core) tracee() *tracee {
	if t, ok := tracees.Load(c.key()); ok {
		return t.(*tracee)
	}
	return c.Made("waker", "")
}

// Made gives c its number in the trace, and says what it is the waker of. Only where [Tracing].
func (c *Core) Made(kind, from string) *tracee {
	t := &tracee{number: made.Add(1)}
	tracees.Store(c.key(), t)
	e := event("made")
	e = number(e, "waker", t.number)
	e = text(e, "kind", kind)
	if from != "" {
		e = text(e, "from", from)
	}
	emit(e)
	return t
}

// Named gives c a name in the trace.
func (c *Core) Named(name string) {
	t := c.tracee() // first, for it may have to say that there is one
	e := number(event("named"), "waker", t.number)
	emit(text(e, "name", name))
}

// Trace writes that something happens to c, with the word as it is before.
func (c *Core) Trace(what string) { c.TraceMore(what, "", "") }

// TraceMore is Trace with one more text; empty: none.
func (c *Core) TraceMore(what, key, value string) {
	t := c.tracee()
	e := number(event(what), "waker", t.number)
	if !c.user {
		e = text(e, "word", [...]string{"EMPTY", "NOTIFIED", "PARKED"}[c.word.Load()])
	}
	e = number(e, "handles", uint64(max(t.handles.Load(), 0)))
	if key != "" {
		e = text(e, key, value)
	}
	emit(e)
}

// traceCount is Trace of what makes or ends a handle.
func (c *Core) traceCount(what string, n int) {
	c.tracee().handles.Add(int64(n))
	c.Trace(what)
}

// traceBox writes which box is c's.
func (c *Core) traceBox(box uintptr) {
	t := c.tracee()
	e := number(event("boxed"), "waker", t.number)
	e = text(e, "data", "0x"+strconv.FormatUint(uint64(box), 16))
	e = text(e, "vtable", "0x"+strconv.FormatUint(uint64(capi.BoxVTable()), 16))
	e = append(e, `,"box":[`...)
	for i, w := range capi.BoxLook(box) {
		if i > 0 {
			e = append(e, ',')
		}
		e = append(append(append(e, '"'), "0x"+strconv.FormatUint(w.Value, 16)...), '"')
	}
	emit(append(e, ']'))
}

// Trace writes what happens to no core: to the two words of a C waker, or to the goroutine alone, where vtable is 0.
func Trace(what, name string, w capi.Raw) {
	e := event(what)
	if name != "" {
		e = text(e, "name", name)
	}
	if w.VTable != 0 {
		w = capi.AuditInner(w)
		e = text(e, "data", "0x"+strconv.FormatUint(uint64(w.Data), 16))
		e = text(e, "vtable", "0x"+strconv.FormatUint(uint64(w.VTable), 16))
	}
	emit(e)
}

// TracePoll is a poll with its two lines, which say writes.
func TracePoll(say func(what string), poll func() (ready bool)) (ready bool) {
	say("poll")
	end := "panicked"
	defer func() { say(end) }()
	ready = poll()
	if end = "pending"; ready {
		end = "ready"
	}
	return ready
}

func event(what string) []byte {
	e := make([]byte, 0, 256)
	e = append(e, `{"ns":`...)
	e = strconv.AppendInt(e, capi.TraceNow(), 10)
	if thread := threadID(); thread != 0 {
		e = number(e, "thread", uint64(thread))
	}
	e = number(e, "goroutine", capi.Goroutine())
	return text(e, "what", what)
}

func number(e []byte, key string, n uint64) []byte {
	e = append(append(append(e, `,"`...), key...), `":`...)
	return strconv.AppendUint(e, n, 10)
}

func text(e []byte, key, value string) []byte { return capi.TraceText(e, key, value) }

func emit(e []byte) { capi.TraceWrite(append(e, '}')) }
