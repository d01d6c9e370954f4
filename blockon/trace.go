package blockon

import (
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// newTracedFrame returns a frame whose waker has a number in the trace. It is never pooled.
func newTracedFrame() *frame {
	fr := newFrame()
	fr.parker.Made("BlockOn", "")
	wake.Rawwaker.Diagnose(&fr.cx)
	fr.parker.MarkEscaped()
	return fr
}

// traced is a future whose polls and drop are traced.
type traced[T any] struct {
	f    rawwaker.Future[T]
	core *wake.Core
}

// Poll implements [rawwaker.Future].
func (t *traced[T]) Poll(cx *rawwaker.Context) (p rawwaker.Poll[T]) {
	wake.TracePoll(t.core.Trace, func() bool {
		p = t.f.Poll(cx)
		return p.IsReady()
	})
	return p
}

// Drop implements [rawwaker.Dropper].
func (t *traced[T]) Drop() {
	t.core.Trace("future dropped")
	if d, ok := t.f.(rawwaker.Dropper); ok {
		d.Drop()
	}
}
