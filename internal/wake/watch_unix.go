//go:build cgo && !windows

package wake

import (
	"os"
	"syscall"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// watch returns what waits until s has been kicked. It sleeps in Go's netpoller, so it costs no
// thread.
func watch(s *capi.Sink) (sleep func()) {
	readable := os.NewFile(s.FD(), "ffiwaker wakes")
	var eight [8]byte
	return func() {
		if _, err := readable.Read(eight[:]); err != nil {
			// A system whose poller refuses the descriptor: then a thread waits for it.
			if syscall.SetNonblock(int(s.FD()), false) != nil {
				panic("ffiwaker: reading the descriptor for wakes from C: " + err.Error())
			}
		}
	}
}
