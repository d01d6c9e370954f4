package executor_test

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// readable waits for a descriptor; a negative timeout never ends.
func readable(fd, milliseconds int) bool {
	p := struct {
		fd              int32
		events, revents int16
	}{fd: int32(fd), events: 1}
	var timeout *syscall.Timespec
	if milliseconds >= 0 {
		t := syscall.NsecToTimespec(int64(milliseconds) * 1e6)
		timeout = &t
	}
	for {
		n, _, errno := syscall.Syscall6(
			syscall.SYS_PPOLL,
			uintptr(unsafe.Pointer(&p)),
			1,
			uintptr(unsafe.Pointer(timeout)),
			0,
			0,
			0,
		)
		if errno != syscall.EINTR {
			return n == 1
		}
	}
}

// host ticks until false and then sleeps on the descriptor, until nothing is left.
func host(l *executor.Local, left *int) {
	for fd := l.FD(); ; readable(fd, -1) {
		for l.Tick() {
		}
		if *left == 0 {
			return
		}
	}
}

func TestFDInEpoll(t *testing.T) {
	t.Run("is_readable_while_there_is_something_to_tick", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		defer l.Close()
		fd := l.FD()
		require.False(t, readable(fd, 0))
		var p probe
		executor.SpawnLocal[int](l, &p)
		require.True(t, readable(fd, 0))
		require.True(t, l.Tick())
		require.False(t, l.Tick())
		require.False(t, readable(fd, 0))
		p.waker.Wake()
		require.True(t, readable(fd, 0))
		p.finish()
		require.True(t, l.Tick())
		require.False(t, l.Tick())
		require.False(t, readable(fd, 0))
	})
	// A host that ticks until false and then sleeps on the descriptor, against wakes from many
	// goroutines: none is lost.
	t.Run("loses_no_wake_in_a_storm_against_a_host_that_sleeps", func(t *testing.T) {
		balance.Check(t)
		wakes := 20_000
		if testing.Short() {
			wakes = 3_000
		}
		l := executor.NewLocal()
		defer l.Close()
		const tasks = 8
		var seen, sent [tasks]atomic.Int64
		wakers := make([]*rawwaker.Waker, tasks)
		left := tasks
		for i := range tasks {
			executor.SpawnLocal(l, pollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if wakers[i] == nil {
					wakers[i] = cx.Waker().Clone()
				}
				seen[i].Store(sent[i].Load())
				if seen[i].Load() == int64(wakes) {
					left--
					return rawwaker.Ready(0)
				}
				return rawwaker.Pending[int]()
			}))
		}
		for l.Tick() {
		}
		var wg sync.WaitGroup
		for i := range tasks {
			wg.Go(func() {
				for range wakes {
					sent[i].Add(1)
					wakers[i].WakeByRef()
					if i%2 == 0 { // one at a time: each may be the one that finds the host asleep
						for n := sent[i].Load(); seen[i].Load() < n; {
							readable(l.FD(), 0)
						}
					}
				}
				wakers[i].Drop()
			})
		}
		host(l, &left)
		wg.Wait()
	})
}

type pollFn func(cx *rawwaker.Context) rawwaker.Poll[int]

func (p pollFn) Poll(cx *rawwaker.Context) rawwaker.Poll[int] { return p(cx) }
