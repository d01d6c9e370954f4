package future_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestFuture(t *testing.T) {
	t.Run("polled_after_completion_panics", func(t *testing.T) {
		tx, rx := future.Channel[int](1)
		require.True(t, tx.TrySend(1))
		room, _ := future.Channel[int](1)
		one := func(*rawwaker.Context) rawwaker.Poll[int] { return rawwaker.Ready(1) }
		for name, run := range map[string]func(){
			"Ready":      again(future.Ready(1)),
			"PollFn":     again(future.PollFn(one)),
			"Sleep":      again(future.Sleep(0)),
			"Yield":      again(future.Yield()),
			"Go":         again(future.Go(func(context.Context) (int, error) { return 1, nil })),
			"Async":      again(future.Async(func(*future.Awaiter) int { return 1 })),
			"Map":        again(future.Map(future.Ready(1), func(v int) int { return v })),
			"Then":       again(future.Then(future.Ready(1), future.Ready[int])),
			"CatchPanic": again(future.CatchPanic(future.Ready(1))),
			"Shared":     again[int](future.Shared(future.Ready(1))),
			"Next":       again(future.Next(future.Values(1))),
			"Collect":    again(future.Collect(future.Values(1))),
			"ForEach":    again(future.ForEach(future.Values(1), func(int) {})),
			"Recv":       again(rx.Recv()),
			"Send":       again(room.Send(1)),
			"a Then that Then was given": func() {
				used := future.Then(future.Ready(1), future.Ready[int])
				blockon.BlockOn(used)
				blockon.BlockOn(future.Then(future.Ready(1), func(int) rawwaker.Future[int] { return used }))
			},
		} {
			t.Run(name, func(t *testing.T) {
				require.PanicsWithValue(t, "future polled after completion", run)
			})
		}
	})
	t.Run("of_several_polled_after_completion_panics", func(t *testing.T) {
		for name, f := range map[string]func(){
			"Join":    again(future.Join(future.Ready(1), future.Ready(2))),
			"JoinAll": again(future.JoinAll(future.Ready(1))),
			"Race":    again(future.Race(future.Ready(1))),
			"Timeout": again(future.Timeout(future.Ready(1), 1)),
		} {
			require.PanicsWithValue(t, "future polled after completion", f, name)
		}
	})
	t.Run("of_a_nil_function_panics", func(t *testing.T) {
		require.PanicsWithValue(t, "future: PollFn: nil function", func() { future.PollFn[int](nil) })
		require.PanicsWithValue(t, "future: Go: nil function", func() { future.Go[int](nil) })
		require.PanicsWithValue(t, "future: Async: nil body", func() { future.Async[int](nil) })
	})
	t.Run("of_nil_panics", func(t *testing.T) {
		one, values := future.Ready(1), future.Values(1)
		same := func(v int) int { return v }
		for call, give := range map[string]func(){
			"Join: nil future":        func() { future.Join[int](nil, one) },
			"Join: nil future ":       func() { future.Join[int, int](one, nil) },
			"JoinAll: nil future":     func() { future.JoinAll(one, nil) },
			"Race: nil future":        func() { future.Race(one, nil) },
			"Unordered: nil future":   func() { future.Unordered(nil, one) },
			"Timeout: nil future":     func() { future.Timeout[int](nil, 1) },
			"Map: nil future":         func() { future.Map[int](nil, same) },
			"Map: nil function":       func() { future.Map[int, int](one, nil) },
			"Then: nil future":        func() { future.Then[int](nil, future.Ready[int]) },
			"Then: nil function":      func() { future.Then[int, int](one, nil) },
			"CatchPanic: nil future":  func() { future.CatchPanic[int](nil) },
			"Shared: nil future":      func() { future.Shared[int](nil) },
			"Next: nil stream":        func() { future.Next[int](nil) },
			"Collect: nil stream":     func() { future.Collect[int](nil) },
			"ForEach: nil stream":     func() { future.ForEach(nil, func(int) {}) },
			"ForEach: nil function":   func() { future.ForEach(values, nil) },
			"MapStream: nil stream":   func() { future.MapStream(nil, same) },
			"MapStream: nil function": func() { future.MapStream[int, int](values, nil) },
			"Filter: nil stream":      func() { future.Filter(nil, func(int) bool { return true }) },
			"Filter: nil function":    func() { future.Filter(values, nil) },
			"Take: nil stream":        func() { future.Take[int](nil, 1) },
			"Await: nil future": func() {
				blockon.BlockOn(future.Async(func(aw *future.Awaiter) int {
					return future.Await[int](aw, nil)
				}))
			},
			"Then: the function returned a nil future": func() {
				blockon.BlockOn(future.Then(one, func(int) rawwaker.Future[int] { return nil }))
			},
		} {
			require.PanicsWithValue(t, "future: "+strings.TrimSpace(call), give)
		}
	})
	t.Run("panics_as_its_function_on_another_goroutine", func(t *testing.T) {
		boom := &struct{ int }{1}
		require.PanicsWithValue(t, boom, func() {
			blockon.BlockOn(future.Go(func(context.Context) (int, error) { panic(boom) }))
		})
		require.PanicsWithValue(t, boom, func() {
			blockon.BlockOn(future.Async(func(*future.Awaiter) int { panic(boom) }))
		})
	})
	t.Run("ends_its_poller_if_its_function_calls_Goexit", func(t *testing.T) {
		for name, f := range map[string]rawwaker.Future[int]{
			"Async": future.Async(func(*future.Awaiter) int { runtime.Goexit(); return 0 }),
			"Go": future.PollFn(pollInner(future.Go(func(context.Context) (int, error) {
				runtime.Goexit()
				return 0, nil
			}))),
		} {
			t.Run(name, func(t *testing.T) {
				returned, ended := false, make(chan struct{})
				go func() {
					defer close(ended)
					blockon.BlockOn(f)
					returned = true
				}()
				<-ended
				require.False(t, returned)
			})
		}
	})
	t.Run("in_a_bubble_leaves_nothing_in_it", func(t *testing.T) {
		work := func() int {
			return blockon.BlockOn(future.Async(func(aw *future.Awaiter) int {
				future.Await(aw, future.Sleep(time.Millisecond))
				future.Await(aw, future.Yield())
				return future.Await(aw, future.Go(func(context.Context) (int, error) { return 42, nil })).Value
			}))
		}
		require.Equal(t, 42, work())
		synctest.Test(t, func(t *testing.T) { require.Equal(t, 42, work()) })
		require.Equal(t, 42, work())
	})
	t.Run("that_is_always_ready_lets_others_run", func(t *testing.T) {
		const n = 6400
		none := func(int) bool { return false }
		many := make([]int, n)
		tx, rx := future.Channel[int](n)
		for i := range n {
			tx.TrySend(i)
		}
		tx.Close()
		var loop func(n int) rawwaker.Future[struct{}]
		loop = func(n int) rawwaker.Future[struct{}] {
			return future.Then(future.Ready(n), func(n int) rawwaker.Future[struct{}] {
				if n == 0 {
					return future.Ready(struct{}{})
				}
				return loop(n - 1)
			})
		}
		for name, f := range map[string]rawwaker.Future[struct{}]{
			"Collect":             unit(future.Collect(future.Values(many...))),
			"Collect of received": unit(future.Collect(rx.Stream())),
			"ForEach":             future.ForEach(future.Values(many...), func(int) {}),
			"Filter":              unit(future.Collect(future.Filter(future.Values(many...), none))),
			"Then":                loop(n),
		} {
			require.GreaterOrEqual(t, others(f), n/64, name)
		}
	})
	t.Run("keeps_no_result_that_was_taken", func(t *testing.T) {
		type value = *[1 << 16]byte
		cx := rawwaker.NewContext(rawwaker.Noop())
		for name, take := range map[string]func(freed *atomic.Bool) (kept any){
			"Oneshot, by its sender": func(freed *atomic.Bool) any {
				tx, rx := future.Oneshot[value]()
				tx.Send(large(freed))
				require.True(t, rx.Poll(cx).IsReady())
				return tx
			},
			"Oneshot whose receiver was dropped before": func(freed *atomic.Bool) any {
				tx, rx := future.Oneshot[value]()
				rx.Drop()
				require.False(t, tx.Send(large(freed)))
				return rx
			},
			"Oneshot whose receiver was dropped after": func(freed *atomic.Bool) any {
				tx, rx := future.Oneshot[value]()
				require.True(t, tx.Send(large(freed)))
				rx.Drop()
				return tx
			},
			"Channel, by its ends": func(freed *atomic.Bool) any {
				tx, rx := future.Channel[value](1)
				send := tx.Send(large(freed))
				require.True(t, send.Poll(cx).IsReady())
				recv := rx.Recv()
				require.True(t, recv.Poll(cx).IsReady())
				return []any{tx, rx, send, recv}
			},
			"Send that was dropped": func(freed *atomic.Bool) any {
				tx, _ := future.Channel[value](1)
				send := tx.Send(large(freed))
				drop(send)
				return send
			},
			"Go": func(freed *atomic.Bool) any {
				f := future.Go(func(context.Context) (value, error) { return large(freed), nil })
				blockon.BlockOn(f)
				return f
			},
			"Async": func(freed *atomic.Bool) any {
				f := future.Async(func(*future.Awaiter) value { return large(freed) })
				blockon.BlockOn(f)
				return f
			},
			"JoinAll, Join and Collect": func(freed *atomic.Bool) any {
				all := future.JoinAll(future.Ready(0))
				made := future.MapStream(future.Values(1), func(int) value { return large(freed) })
				two := future.Join(all, future.Collect(made))
				require.True(t, two.Poll(cx).IsReady())
				return two
			},
		} {
			t.Run(name, func(t *testing.T) {
				var freed atomic.Bool
				kept := take(&freed)
				isCollected(t, &freed)
				runtime.KeepAlive(kept)
			})
		}
	})
}

func again[T any](f rawwaker.Future[T]) func() {
	return func() {
		blockon.BlockOn(f)
		poll(f)
	}
}

// pollInner is a Poll of f's value without its error.
func pollInner[T any](
	f rawwaker.Future[rawwaker.Result[T]],
) func(*rawwaker.Context) rawwaker.Poll[T] {
	return func(cx *rawwaker.Context) rawwaker.Poll[T] {
		if p := f.Poll(cx); p.IsReady() {
			return rawwaker.Ready(p.Value().Value)
		}
		return rawwaker.Pending[T]()
	}
}

// others counts the turns that another task gets while f runs.
func others(f rawwaker.Future[struct{}]) (turns int) {
	ex := executor.NewLocal()
	defer ex.Close()
	h := executor.SpawnLocal(ex, f)
	other := executor.SpawnLocal(ex, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
		turns++
		cx.Waker().WakeByRef()
		return rawwaker.Pending[struct{}]()
	}))
	for !h.IsDone() {
		ex.Tick()
	}
	_ = other
	return turns
}

func TestYield(t *testing.T) {
	t.Run("is_pending_once", func(t *testing.T) {
		f := &polled[struct{}]{f: future.Yield()}
		blockon.BlockOn(f)
		require.Equal(t, 2, f.n)
	})
}

type (
	ints  = rawwaker.Future[int]
	units = rawwaker.Future[struct{}]
)

// wraps has all combinators: each makes one future of three.
var wraps = map[string]func(a, b, c ints) units{
	"Join": func(a, b, c ints) units {
		return unit(future.Join(a, future.Join(b, c)))
	},
	"JoinAll": func(a, b, c ints) units { return unit(future.JoinAll(a, b, c)) },
	"Race":    func(a, b, c ints) units { return unit(future.Race(a, b, c)) },
	"Unordered": func(a, b, c ints) units {
		return unit(future.Collect(future.Unordered(a, b, c)))
	},
	"Take, Filter and MapStream of Unordered": func(a, b, c ints) units {
		same := future.MapStream(future.Unordered(a, b, c), func(v int) int { return v })
		all := future.Filter(same, func(int) bool { return true })
		return future.ForEach(future.Take(all, 3), func(int) {})
	},
	"Timeout": func(a, b, c ints) units {
		return unit(future.Timeout(future.JoinAll(a, b, c), time.Hour))
	},
	"Timeout that has passed": func(a, b, c ints) units {
		return unit(future.Timeout(future.JoinAll(a, b, c), 0))
	},
	"Then": func(a, b, c ints) units {
		all := future.Then(future.JoinAll(a, b, c), func([]int) ints { return future.Ready(1) })
		return future.Then(future.Yield(), func(struct{}) units { return unit(all) })
	},
	"CatchPanic": func(a, b, c ints) units {
		return unit(future.CatchPanic(future.JoinAll(a, b, c)))
	},
	"Shared": func(a, b, c ints) units {
		return unit[[]int](future.Shared(future.JoinAll(a, b, c)))
	},
	"Shared of two handles": func(a, b, c ints) units {
		h := future.Shared(future.JoinAll(a, b, c))
		return unit(future.Join[[]int, []int](h.Clone(), h))
	},
	"Async": func(a, b, c ints) units {
		return future.Async(func(aw *future.Awaiter) struct{} {
			future.Await(aw, future.JoinAll(a, b, c))
			return struct{}{}
		})
	},
}

func TestDrop(t *testing.T) {
	t.Run("before_ready_drops_those_that_are_left_once", func(t *testing.T) {
		noop := rawwaker.NewContext(rawwaker.Noop())
		for name, combine := range map[string]func(a, b *leaf) rawwaker.Dropper{
			"Join": func(a, b *leaf) rawwaker.Dropper {
				f := future.Join[int, int](a, b)
				require.False(t, f.Poll(noop).IsReady())
				return f.(rawwaker.Dropper)
			},
			"JoinAll": func(a, b *leaf) rawwaker.Dropper {
				f := future.JoinAll[int](a, b)
				require.False(t, f.Poll(noop).IsReady())
				return f.(rawwaker.Dropper)
			},
		} {
			t.Run(name, func(t *testing.T) {
				a, b := &leaf{lit: true}, new(leaf)
				f := combine(a, b)
				f.Drop()
				require.Equal(t, []int{0, 1}, []int{a.drops, b.drops}, "a was ready")
				b.waker.Wake()
			})
		}
		a, b := new(leaf), new(leaf)
		f := future.Race[int](a, b)
		require.False(t, f.Poll(noop).IsReady())
		f.(rawwaker.Dropper).Drop()
		require.Equal(t, []int{1, 1}, []int{a.drops, b.drops})
	})
	t.Run("drops_what_is_inside_once", func(t *testing.T) {
		for name, wrap := range map[string]func(*leaf) any{
			"Map": func(l *leaf) any {
				return future.Map[int](l, func(v int) int { return v })
			},
			"Then, first": func(l *leaf) any {
				return future.Then[int](l, future.Ready[int])
			},
			"Then, next": func(l *leaf) any {
				f := future.Then(future.Ready(0), func(int) rawwaker.Future[int] { return l })
				poll(f)
				return f
			},
			"CatchPanic": func(l *leaf) any { return future.CatchPanic[int](l) },
			"Shared":     func(l *leaf) any { return future.Shared[int](l) },
			"Collect":    func(l *leaf) any { return future.Collect(future.Unordered[int](l)) },
			"Take":       func(l *leaf) any { return future.Take(future.Unordered[int](l), 1) },
		} {
			l := new(leaf)
			wrap(l).(rawwaker.Dropper).Drop()
			require.Equal(t, 1, l.drops, name)
		}
	})
	// Whatever one of three futures does in its Poll and its Drop, each has been dropped once when
	// the owner has dropped them all.
	for wrap, make := range wraps {
		for polled, inPoll := range endings {
			for dropped, inDrop := range endings {
				for bad := range 3 {
					name := fmt.Sprintf("is_called_once/%s/%d_%s_in_Poll_and_%s_in_Drop",
						wrap, bad, polled, dropped)
					t.Run(name, func(t *testing.T) {
						var fs [3]faulted
						for i := range fs {
							fs[i].poll, fs[i].drop = func() {}, func() {}
						}
						fs[bad].poll, fs[bad].drop = inPoll, inDrop
						ended := signal()
						go func() { // an owner, as every driver is
							defer close(ended)
							defer func() { _ = recover() }()
							f := make(&fs[0], &fs[1], &fs[2])
							ready := false
							defer func() {
								if !ready {
									drop(f)
								}
							}()
							ready = poll(f).IsReady()
							ready = ready || poll(f).IsReady() // one of them yields first
						}()
						<-ended
						require.Equal(t, []int{1, 1, 1}, []int{fs[0].drops, fs[1].drops, fs[2].drops})
					})
				}
			}
		}
	}
}
