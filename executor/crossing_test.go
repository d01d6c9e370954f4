//go:build cgo && linux

package executor_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func ops(n int) (ops []ctest.Op, fs []rawwaker.Future[uint64]) {
	for range n {
		op := ctest.NewOp()
		ops = append(ops, op)
		fs = append(fs, rawwaker.FutureFromRaw[uint64](op.Raw()))
	}
	return ops, fs
}

func sum(vs []uint64) (s uint64) {
	for _, v := range vs {
		s += v
	}
	return s
}

func TestCFutures(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 2_000
	}
	want := uint64(n) * uint64(n-1) / 2
	t.Run("by JoinAll", func(t *testing.T) {
		balance.Check(t)
		ops, fs := ops(n)
		all := future.JoinAll(fs...)
		done := make(chan struct{})
		polled := false
		require.Equal(
			t,
			want,
			sum(blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[[]uint64] {
				p := all.Poll(cx)
				if !polled {
					polled = true
					go func() { ctest.CompleteAll(ops, 4); close(done) }()
				}
				return p
			}))),
		)
		<-done
	})
	t.Run("as tasks", func(t *testing.T) {
		balance.Check(t)
		ops, fs := ops(n)
		ex := executor.New()
		defer ex.Close()
		handles := make([]rawwaker.Future[uint64], n)
		for i, f := range fs {
			handles[i] = executor.Spawn(ex, f)
		}
		ctest.CompleteAll(ops, 4)
		require.Equal(t, want, sum(blockon.BlockOn(future.JoinAll(handles...))))
	})
	t.Run("on a Local that runs", func(t *testing.T) {
		balance.Check(t)
		ops, fs := ops(n)
		l := executor.NewLocal()
		defer l.Close()
		h := executor.SpawnLocal(l, future.Async(func(aw *future.Awaiter) uint64 {
			var s uint64
			for _, f := range fs {
				s += future.Await(aw, f)
			}
			return s
		}))
		go ctest.CompleteAll(ops, 4)
		l.Run()
		require.Equal(t, want, blockon.BlockOn[uint64](h))
	})
	t.Run("on a Local that a host ticks", func(t *testing.T) {
		balance.Check(t)
		ops, fs := ops(n)
		l := executor.NewLocal()
		defer l.Close()
		var got uint64
		left := n
		for _, f := range fs {
			executor.SpawnLocal(l, pollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				p := f.Poll(cx)
				if !p.IsReady() {
					return rawwaker.Pending[int]()
				}
				got += p.Value()
				left--
				return rawwaker.Ready(0)
			}))
		}
		done := make(chan struct{})
		go func() { ctest.CompleteAll(ops, 4); close(done) }()
		host(l, &left)
		require.Equal(t, want, got)
		<-done
	})
	require.Zero(t, ctest.OpsLive())
}

func TestWakeWithInC(t *testing.T) {
	t.Run("drops_its_waker_although_the_Local_was_closed_inside_a_wake", func(t *testing.T) {
		balance.Check(t)
		task := ctest.NewTask()
		defer task.Free()
		l := executor.NewLocal()
		s := ctest.NewScript("k.r")
		executor.SpawnLocal[uint64](l, rawwaker.FutureFromRaw[uint64](s.Raw()))
		for l.Tick() {
		}
		l.WakeWith(rawwaker.FromRaw(task.Waker()))
		task.Hold()
		woken := make(chan struct{})
		go func() { defer close(woken); s.Wake() }()
		task.AwaitInside(1)
		closed := make(chan struct{})
		go func() { defer close(closed); l.Close() }()
		task.AwaitInside(2) // Close drops the waker for wakes from Go, when the sink is closed
		task.Release()
		<-woken
		<-closed
		for task.Counts().Live > 0 { // no call of this program's drops it
			runtime.Gosched()
		}
		s.Free()
	})
}

func TestFD(t *testing.T) {
	t.Run("is_readable_after_a_wake_from_C_and_the_hook_is_called", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		defer l.Close()
		s := ctest.NewScript("k.r")
		h := executor.SpawnLocal[uint64](l, rawwaker.FutureFromRaw[uint64](s.Raw()))
		for l.Tick() {
		}
		fd := l.FD()
		for readable(fd, 0) {
			l.Tick()
		}
		s.Wake() // a thread of C; when it is through, so is the descriptor
		require.True(t, readable(fd, 0))
		require.True(t, l.Tick())
		require.False(t, l.Tick())
		require.False(t, readable(fd, 0))
		called := make(chan struct{}, 1)
		l.OnWake(func() {
			select {
			case called <- struct{}{}:
			default:
			}
		})
		s.Wake()
		<-called
		for l.Tick() {
		}
		require.EqualValues(t, 42, blockon.BlockOn[uint64](h))
		s.Free()
	})
	// A host may stop after any number of ticks.
	t.Run("is_readable_while_there_is_something_to_tick", func(t *testing.T) {
		for _, by := range []string{"C", "Go", "spawn"} {
			t.Run("after_wakes_by_"+by, func(t *testing.T) {
				balance.Check(t)
				l := executor.NewLocal()
				defer l.Close()
				fd := l.FD()
				const tasks = 3
				var scripts [tasks]*ctest.Script
				var wakers [tasks]*rawwaker.Waker
				spawn := func(i int) {
					executor.DetachLocal(l, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
						if wakers[i] == nil {
							wakers[i] = cx.Waker().Clone()
							return rawwaker.Pending[struct{}]()
						}
						return rawwaker.Ready(struct{}{})
					}))
				}
				left := tasks
				switch by {
				case "C":
					for i := range scripts {
						scripts[i] = ctest.NewScript("kr")
						executor.SpawnLocal(
							l,
							rawwaker.Future[uint64](rawwaker.FutureFromRaw[uint64](scripts[i].Raw())),
						)
					}
				case "Go":
					for i := range wakers {
						spawn(i)
					}
				}
				for l.Tick() {
				}
				require.False(t, readable(fd, 0))
				switch by {
				case "C":
					for _, s := range scripts {
						s.Wake()
					}
				case "Go":
					for _, w := range wakers {
						w.WakeByRef()
					}
				case "spawn":
					for i := range wakers {
						spawn(i)
					}
				}
				for ; left > 0; left-- {
					require.True(t, readable(fd, 0), "%d are left", left)
					require.True(t, l.Tick())
				}
				require.False(t, l.Tick())
				require.False(t, readable(fd, 0))
				for i := range tasks {
					if by == "C" {
						scripts[i].Free()
					} else {
						wakers[i].Drop()
					}
				}
			})
		}
	})
}
