package executor

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

type pendingUntilDropped func()

func (f pendingUntilDropped) Poll(*rawwaker.Context) rawwaker.Poll[int] {
	return rawwaker.Pending[int]()
}
func (f pendingUntilDropped) Drop() { f() }

// A wake has taken the task's token, and has not queued it yet; the last that was polled there
// was this very task. (The model task.pml found that Close took it for one that is being polled.)
func TestCloseToken(t *testing.T) {
	for _, on := range []string{"Local", "Executor"} {
		t.Run(on, func(t *testing.T) {
			var order string // -race tells, if nothing orders it
			f := pendingUntilDropped(func() { order += "d" })
			var h *JoinHandle[int]
			var closeIt func() error
			if on == "Local" {
				l := NewLocal()
				h, closeIt = SpawnLocal[int](l, f), l.Close
				require.True(t, l.Tick())
			} else {
				ex := New(Workers(1))
				h, closeIt = Spawn[int](ex, f), ex.Close
			}
			for !h.task.core.Asleep() {
				runtime.Gosched()
			}
			require.True(t, h.task.core.Notify(), "the wake's exchange")
			closed := make(chan struct{})
			go func() {
				closeIt()
				order += "c"
				close(closed)
			}()
			for range 1000 {
				runtime.Gosched()
			}
			h.task.schedule(wake.Anywhere) // and its push
			<-closed
			require.Equal(t, "dc", order)
		})
	}
}
