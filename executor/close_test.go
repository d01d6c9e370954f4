//go:build cgo && linux

package executor_test

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func descriptors(t *testing.T) int {
	all, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(all)
}

func TestLocalClose(t *testing.T) {
	t.Run("ends_a_Run_on_another_goroutine", func(t *testing.T) {
		l := executor.NewLocal()
		executor.SpawnLocal(l, future.PollFn(pendingInt))
		done := make(chan struct{})
		go func() { l.Run(); close(done) }()
		time.Sleep(time.Millisecond) // most likely it is parked by now; it returns either way
		l.Close()
		<-done
	})
	t.Run("inside_a_task_lets_it_lend_its_waker_to_C", func(t *testing.T) {
		l := executor.NewLocal()
		var raw rawwaker.RawWaker
		h := executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			l.Close()
			raw = cx.Waker().Clone().IntoRaw()
			ctest.WakeByRef(raw)
			return rawwaker.Pending[int]()
		}))
		require.True(t, l.Tick())
		ctest.WakeByRef(raw)
		ctest.Drop(raw)
		require.True(t, h.IsDone())
	})
	t.Run("during_a_poll_lets_it_poll_a_C_future", func(t *testing.T) {
		l := executor.NewLocal()
		in, closed := make(chan struct{}), make(chan struct{})
		ready := rawwaker.FutureFromRaw[int](
			rawwaker.FutureIntoRaw(future.PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
				return rawwaker.Ready(1)
			})),
		)
		h := executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			close(in)
			<-closed
			return ready.Poll(cx)
		}))
		go func() { <-in; l.Close(); close(closed) }()
		require.True(t, l.Tick())
		require.True(t, h.IsDone())
	})
	t.Run("leaves_nothing_alive_that_only_a_C_waker_keeps", func(t *testing.T) {
		boxes, fds := capi.Live(), descriptors(t)
		for range 10 {
			l := executor.NewLocal()
			var raw rawwaker.RawWaker
			executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				raw = cx.Waker().Clone().IntoRaw()
				l.Close()
				ctest.WakeByRef(raw) // listed, and not drained any more
				return rawwaker.Pending[int]()
			}))
			l.Tick()
			ctest.Drop(raw)
		}
		collected(t, func() bool { return capi.Live() <= boxes && descriptors(t) <= fds })
	})
	t.Run("drops_the_waker_of_the_host_and_does_not_use_it_again", func(t *testing.T) {
		for range 2000 {
			l := executor.NewLocal()
			l.WakeWith(rawwaker.FromFunc(func() {}))
			var w *rawwaker.Waker
			executor.SpawnLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				w = cx.Waker().Clone()
				return rawwaker.Pending[int]()
			}))
			for l.Tick() {
			}
			done := make(chan struct{})
			go func() { w.WakeByRef(); close(done) }()
			l.Close()
			<-done
		}
	})
	t.Run("gives_the_waker_back_to_a_later_WakeWith", func(t *testing.T) {
		task := ctest.NewTask()
		defer task.Free()
		l := executor.NewLocal()
		l.Close()
		l.WakeWith(rawwaker.FromRaw(task.Waker()))
		require.Zero(t, task.Counts().Live)
	})
	t.Run("beside_OnWake_calls_no_hook_afterwards", func(t *testing.T) {
		for range 1000 {
			l := executor.NewLocal()
			done := make(chan struct{})
			go func() { l.OnWake(func() {}); close(done) }()
			l.Close()
			<-done
		}
	})
	t.Run("by_the_collector_drops_the_waker_of_the_host_on_another_goroutine", func(t *testing.T) {
		task := ctest.NewTask()
		task.Hold() // its slots do not return
		func() {
			l := executor.NewLocal()
			l.WakeWith(rawwaker.FromRaw(task.Waker()))
		}()
		for range 5 {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
		ran := make(chan struct{})
		func() { runtime.SetFinalizer(new([64]int), func(*[64]int) { close(ran) }) }()
		collected(t, func() bool {
			select {
			case <-ran:
				return true
			default:
				return false
			}
		})
		task.Release()
		collected(t, func() bool { return task.Counts().Live == 0 })
		task.Free()
	})
}
