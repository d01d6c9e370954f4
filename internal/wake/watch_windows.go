//go:build cgo

package wake

import (
	"syscall"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// watch returns what waits until s has been kicked. Go's netpoller there knows no events, so a
// thread waits.
func watch(s *capi.Sink) (sleep func()) {
	event := syscall.Handle(s.FD())
	return func() {
		if _, err := syscall.WaitForSingleObject(event, syscall.INFINITE); err != nil {
			panic("ffiwaker: waiting for wakes from C: " + err.Error())
		}
		s.Ack()
	}
}
