//go:build !cgo

package wake

import (
	"sync"
	"syscall"
)

// sleeper is a flag in Go memory and, once it is asked for, a pipe.
type sleeper struct {
	armed *uint32
	word  uint32

	mu             sync.Mutex
	opened         bool
	err            error
	readable, rest int
}

// NewInbox cannot fail here.
func NewInbox() (*Inbox, error) {
	in := new(Inbox)
	in.armed, in.word = &in.word, in.next()
	return in, nil
}

// Drain has nothing to do: there are no wakes of C.
func (in *Inbox) Drain() {}

func (s *sleeper) listed() bool                 { return false }
func (s *sleeper) tell(*Core)                   {}
func (s *sleeper) tellRaw(data, vtable uintptr) {}

func (s *sleeper) open() (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.opened {
		s.opened = true
		s.readable, s.rest, s.err = pipe()
	}
	return s.readable, s.err
}

func (s *sleeper) shut() {} // the last one out does

func (s *sleeper) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.opened && s.err == nil {
		closeFD(s.readable)
		closeFD(s.rest)
	}
}

func (s *sleeper) kick() {
	for {
		if _, err := write(s.rest, []byte{1}); err != syscall.EINTR {
			return
		}
	}
}

func (s *sleeper) quiet() {
	var b [64]byte
	for {
		if n, err := read(s.readable, b[:]); err != syscall.EINTR && n < len(b) {
			return
		}
	}
}
