//go:build cgo

package wake

import (
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// sleeper is a sink of C of its own.
type sleeper struct {
	armed *uint32 // the sink's flag, in C memory: gone with it
	sink  *capi.Sink
	fd    int
}

// NewInbox fails if descriptors or memory have run out.
func NewInbox() (*Inbox, error) {
	if sinkErr != nil {
		return nil, sinkErr // the process has not even its own: timers would end it
	}
	s, err := capi.NewSink(0)
	if err != nil {
		return nil, err
	}
	in := new(Inbox)
	in.sleeper = sleeper{armed: s.Sleeping, sink: s, fd: int(s.FD())}
	atomic.StoreUint32(in.armed, in.next())
	return in, nil
}

// Drain delivers the wakes of C to their cores.
func (in *Inbox) Drain() {
	if !in.enter() {
		return
	}
	defer in.leave()
	if in.listed() {
		var notices [64]capi.Notice
		drain(in.sink, notices[:], Anywhere)
	}
}

func (s *sleeper) listed() bool { return atomic.LoadUintptr(s.sink.Head) != 0 }

func (s *sleeper) open() (int, error) { return s.fd, nil }

// shut closes the descriptor and drops C's hook; C counts their users.
func (s *sleeper) shut() { s.sink.Close() }

func (s *sleeper) end() { s.sink.Drop() }

func (s *sleeper) tell(c *Core) {
	if w, ok := c.Cross(); ok {
		s.tellRaw(w.Data, w.VTable)
	}
}

func (s *sleeper) tellRaw(data, vtable uintptr) {
	w := capi.Raw{Data: data, VTable: vtable}
	if !s.sink.OnWake(w) {
		capi.Drop(w)
		panic("ffiwaker: out of memory for a hook")
	}
}

func (s *sleeper) kick()  { s.sink.Kick() }
func (s *sleeper) quiet() { s.sink.Ack() }
