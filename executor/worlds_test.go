//go:build cgo && linux

package executor_test

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// everything is a future that awaits a goroutine, a timer-free yield, two C futures at once, a
// channel and itself.
func everything() rawwaker.Future[uint64] {
	ops := []ctest.Op{ctest.NewOp(), ctest.NewOp()}
	tx, rx := future.Channel[uint64](1)
	both := future.JoinAll[uint64](
		rawwaker.FutureFromRaw[uint64](ops[0].Raw()),
		rawwaker.FutureFromRaw[uint64](ops[1].Raw()),
	)
	f := future.Then(future.Yield(), func(struct{}) rawwaker.Future[[]uint64] { return both })
	g := future.Then(f, func(vs []uint64) rawwaker.Future[error] { return tx.Send(vs[0] + vs[1]) })
	h := future.Then(
		future.Join(g, rx.Recv()),
		func(p future.Pair[error, rawwaker.Result[uint64]]) rawwaker.Future[uint64] {
			return future.Map(
				future.Go(func(context.Context) (uint64, error) { return p.Second.Value, nil }),
				func(r rawwaker.Result[uint64]) uint64 { return r.Value },
			)
		},
	)
	started := false
	return future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
		p := h.Poll(cx)
		if !started {
			started = true
			go ctest.CompleteAll(ops, 2) // with 0, 1
		}
		return p
	})
}

func TestWorlds(t *testing.T) {
	t.Run("run_the_same_task", func(t *testing.T) {
		balance.Check(t)
		ex := executor.New()
		defer ex.Close()
		l := executor.NewLocal()
		defer l.Close()
		for name, run := range map[string]func(f rawwaker.Future[uint64]) uint64{
			"BlockOn":  func(f rawwaker.Future[uint64]) uint64 { return blockon.BlockOn(f) },
			"Executor": func(f rawwaker.Future[uint64]) uint64 {
				return blockon.BlockOn[uint64](executor.Spawn(ex, f))
			},
			"Local":    func(f rawwaker.Future[uint64]) uint64 { return executor.RunUntil(l, f) },
			"a C host": func(f rawwaker.Future[uint64]) uint64 {
				_, out := ctest.BlockOn(rawwaker.FutureIntoRaw(f))
				return out
			},
			"a C host that polls on one thread after another": func(f rawwaker.Future[uint64]) uint64 {
				_, out, _ := ctest.Hop(rawwaker.FutureIntoRaw(f))
				return out
			},
		} {
			t.Run(name, func(t *testing.T) {
				want := run(everything())
				for range 100 {
					require.Equal(t, want, run(everything()))
				}
			})
		}
	})
	t.Run("leak_nothing_if_sixteen_C_threads_wake_during_Close", func(t *testing.T) {
		balance.Check(t)
		for _, completed := range []bool{true, false} {
			pool := ctest.NewPool(16, 1)
			for range 40 {
				ex := executor.New()
				l := executor.NewLocal()
				probes := make([]probe, 32)
				for i := range probes {
					probes[i].poll = func(cx *rawwaker.Context) {
						for range 4 {
							pool.Give(cx.Waker().Clone().IntoRaw())
						}
						if completed {
							probes[i].done.Store(true)
						}
					}
					if i%2 == 0 {
						executor.Spawn[int](ex, &probes[i])
					} else {
						executor.SpawnLocal[int](l, &probes[i])
					}
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					for range 20 {
						l.Tick()
					}
				})
				wg.Go(func() { runtime.Gosched(); ex.Close() })
				wg.Go(func() { runtime.Gosched(); l.Close() })
				wg.Wait()
				settle(ex)
				for i := range probes {
					if probes[i].polls.Load() == 0 || !completed {
						require.EqualValues(t, 1, probes[i].drops.Load())
					}
				}
			}
			pool.End()
		}
	})
	// Threads of C and goroutines against a host that ticks until false and then sleeps on the
	// descriptor: a wake that is lost hangs the test.
	t.Run("lose_no_wake_in_a_storm_of_C_threads_and_goroutines", func(t *testing.T) {
		balance.Check(t)
		n := 4000
		if testing.Short() {
			n = 400
		}
		for range 5 {
			l := executor.NewLocal()
			left := 2 * n
			ops := make([]ctest.Op, n)
			probes := make([]probe, n)
			for i := range n {
				ops[i] = ctest.NewOp()
				executor.DetachLocal(
					l,
					future.Map[uint64](
						rawwaker.FutureFromRaw[uint64](ops[i].Raw()),
						func(uint64) struct{} { left--; return struct{}{} },
					),
				)
				executor.DetachLocal(
					l,
					future.Map[int](&probes[i], func(int) struct{} { left--; return struct{}{} }),
				)
			}
			for l.Tick() {
			}
			var wg sync.WaitGroup
			wg.Go(func() { ctest.CompleteAll(ops, 4) })
			for g := range 2 {
				wg.Go(func() {
					for i := g; i < n; i += 2 {
						probes[i].finish()
					}
				})
			}
			host(l, &left)
			wg.Wait()
			require.Zero(t, l.Len())
			l.Close()
		}
	})
	// The task ends while a poll of its handle is between looking and registering: the poll looks
	// again.
	t.Run("give_a_handle_that_is_polled_while_its_task_ends", func(t *testing.T) {
		balance.Check(t)
		l := executor.NewLocal()
		defer l.Close()
		p := new(probe)
		h := executor.SpawnLocal[int](l, p)
		l.Tick()
		task := ctest.NewTask()
		defer task.Free()
		w := rawwaker.FromRaw(task.Waker())
		require.False(t, h.Poll(rawwaker.NewContext(w)).IsReady())
		task.Hold() // the drop of what the first poll has kept does not return
		second := make(chan rawwaker.Poll[int])
		go func() { second <- h.Poll(rawwaker.NewContext(rawwaker.Noop())) }()
		task.AwaitInside(1)
		p.finish()
		for l.Tick() {
		}
		require.True(t, h.IsDone())
		task.Release()
		require.Equal(t, 42, (<-second).Value())
		w.Drop()
	})
}
