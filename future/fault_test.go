package future_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync"
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

// The ways in which a poll or Drop ends.
var endings = map[string]func(){
	"returns": func() {}, "panics": func() { panic("boom") }, "calls Goexit": runtime.Goexit,
}

// faulted is a leaf whose Poll, where it is not lit, and Drop end as they are told to.
type faulted struct {
	leaf
	poll, drop func()
}

func (f *faulted) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	p := f.leaf.Poll(cx)
	if !p.IsReady() {
		f.poll()
	}
	return p
}

func (f *faulted) Drop() { f.leaf.Drop(); f.drop() }

// unit makes a future of nothing out of any.
func unit[T any](f rawwaker.Future[T]) rawwaker.Future[struct{}] {
	return future.Map(f, func(T) struct{} { return struct{}{} })
}

// wraps are all that hold futures: each makes one future of three.
var wraps = map[string]func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}]{
	"Join": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		return unit(future.Join(a, future.Join(b, c)))
	},
	"JoinAll": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] { return unit(future.JoinAll(a, b, c)) },
	"Race":    func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] { return unit(future.Race(a, b, c)) },
	"Unordered": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		return unit(future.Collect(future.Unordered(a, b, c)))
	},
	"Take, Filter and MapStream of Unordered": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		same := future.MapStream(future.Unordered(a, b, c), func(v int) int { return v })
		return future.ForEach(future.Take(future.Filter(same, func(int) bool { return true }), 3), func(int) {})
	},
	"Timeout": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		return unit(future.Timeout(future.JoinAll(a, b, c), time.Hour))
	},
	"Timeout that has passed": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		return unit(future.Timeout(future.JoinAll(a, b, c), 0))
	},
	"Then": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		all := future.Then(future.JoinAll(a, b, c), func([]int) rawwaker.Future[int] { return future.Ready(1) })
		return future.Then(future.Yield(), func(struct{}) rawwaker.Future[struct{}] { return unit(all) })
	},
	"CatchPanic": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		return unit(future.CatchPanic(future.JoinAll(a, b, c)))
	},
	"Shared": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		return unit[[]int](future.Shared(future.JoinAll(a, b, c)))
	},
	"Shared of two handles": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		h := future.Shared(future.JoinAll(a, b, c))
		return unit(future.Join[[]int, []int](h.Clone(), h))
	},
	"Async": func(a, b, c rawwaker.Future[int]) rawwaker.Future[struct{}] {
		return future.Async(func(aw *future.Awaiter) struct{} {
			future.Await(aw, future.JoinAll(a, b, c))
			return struct{}{}
		})
	},
}

// Whatever one of three futures does, in its Poll and in its Drop, each is dropped once by the time
// that the owner has dropped them all.
func TestDrop(t *testing.T) {
	for wrap, make := range wraps {
		for polled, inPoll := range endings {
			for dropped, inDrop := range endings {
				for bad := range 3 {
					t.Run(fmt.Sprintf("is called once in %s/%d %s in its poll and %s in its Drop", wrap, bad, polled, dropped), func(t *testing.T) {
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
							over := false
							defer func() {
								if !over {
									drop(f)
								}
							}()
							over = poll(f).IsReady()
							over = over || poll(f).IsReady() // a Yield comes first in one of them
						}()
						<-ended
						require.Equal(t, []int{1, 1, 1}, []int{fs[0].drops, fs[1].drops, fs[2].drops})
					})
				}
			}
		}
	}
}

func signal() chan struct{} { return make(chan struct{}) }

func TestShared(t *testing.T) {
	t.Run("drops a future that calls Goexit, and the others panic", func(t *testing.T) {
		f := &faulted{poll: runtime.Goexit, drop: func() {}}
		h := future.Shared[int](f)
		other := h.Clone()
		ended := signal()
		go func() { defer close(ended); poll(h) }()
		<-ended
		require.Equal(t, 1, f.drops)
		require.PanicsWithError(t, future.ErrClosed.Error(), func() { poll(other) })
		h.Drop()
		require.Equal(t, 1, f.drops)
	})
	t.Run("wakes all although wakers panic, exit and block", func(t *testing.T) { othersAreWoken(t, manyOfShared) })
	t.Run("Clone beside the Drop of the last handle panics or works", func(t *testing.T) {
		rounds := 20_000
		if testing.Short() {
			rounds = 2_000
		}
		for range rounds {
			l := &leaf{lit: true}
			last := future.Shared[int](l)
			gone := last.Clone()
			gone.Drop()
			var start sync.WaitGroup
			start.Add(1)
			dropped := signal()
			go func() { defer close(dropped); start.Wait(); last.Drop() }()
			start.Done()
			h := func() (h *future.SharedFuture[int]) {
				defer func() {
					if v := recover(); v != nil {
						require.Equal(t, "future: Clone: the SharedFuture was dropped", v)
					}
				}()
				return gone.Clone()
			}()
			if h != nil {
				require.Equal(t, 1, poll(h).Value(), "a handle that was made works")
			}
			<-dropped
			require.Equal(t, h == nil, l.drops == 1)
		}
	})
	t.Run("keeps no value for a waker that its future has kept", func(t *testing.T) {
		var freed atomic.Bool
		var kept *rawwaker.Waker
		func() {
			f := future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[*[1 << 16]byte] {
				kept = cx.Waker().Clone()
				return rawwaker.Ready(large(&freed))
			})
			blockon.BlockOn[*[1 << 16]byte](future.Shared(f))
		}()
		isCollected(t, &freed)
		kept.Drop()
	})
}

// large is a value that says when it was collected.
func large(freed *atomic.Bool) *[1 << 16]byte {
	v := new([1 << 16]byte)
	runtime.AddCleanup(v, func(int) { freed.Store(true) }, 0)
	return v
}

func isCollected(t *testing.T, freed *atomic.Bool) {
	t.Helper()
	for range 200 {
		if runtime.GC(); freed.Load() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("a value that was taken is kept")
}

func TestTakenValuesAreNotKept(t *testing.T) {
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
			two := future.Join(all, future.Collect(future.MapStream(future.Values(1), func(int) value { return large(freed) })))
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
}

// manyOfShared gives waits for one event, and the event.
func manyOfShared() (wait func() rawwaker.Future[struct{}], event func()) {
	l := new(leaf)
	s := future.Shared[int](l)
	return func() rawwaker.Future[struct{}] { return unit[int](s.Clone()) }, l.light
}

func manyOfChannel() (wait func() rawwaker.Future[struct{}], event func()) {
	tx, rx := future.Channel[int](1)
	return func() rawwaker.Future[struct{}] { return unit(rx.Recv()) }, tx.Close
}

// othersAreWoken has good waiters between ones whose wakers panic, exit, or block until all the
// good ones are through.
func othersAreWoken(t *testing.T, many func() (func() rawwaker.Future[struct{}], func())) {
	wait, event := many()
	through := signal()
	var good sync.WaitGroup
	var bad sync.WaitGroup
	for i := range 12 {
		do := []func(){func() { panic("the waker's own") }, runtime.Goexit, func() { <-through }}[i%3]
		bad.Add(1)
		wait().Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { defer bad.Done(); do() })))
		var woken step
		f := wait()
		require.False(t, f.Poll(woken.context()).IsReady())
		polled := signal()
		good.Go(func() {
			blockon.BlockOn(&signalled{Future: wait(), first: polled})
		})
		<-polled
		good.Go(func() {
			for woken.wakes.Load() == 0 {
				runtime.Gosched()
			}
		})
	}
	ended := signal()
	go func() {
		defer close(ended)
		defer func() { _ = recover() }()
		event()
	}()
	good.Wait()
	close(through)
	bad.Wait()
	<-ended
}

// signalled closes first when its first poll has returned.
type signalled struct {
	rawwaker.Future[struct{}]
	first chan struct{}
	once  bool
}

func (s *signalled) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	p := s.Future.Poll(cx)
	if !s.once {
		s.once = true
		close(s.first)
	}
	return p
}

func TestChannel(t *testing.T) {
	t.Run("Close wakes all although wakers panic, exit and block", func(t *testing.T) { othersAreWoken(t, manyOfChannel) })
	t.Run("of any capacity costs what is in it", func(t *testing.T) {
		tx, rx := future.Channel[[64]byte](math.MaxInt)
		for _, n := range []int{1, 40, 3, 1000, 17} {
			for i := range n {
				require.True(t, tx.TrySend([64]byte{byte(i)}))
			}
			for i := range n {
				v, ok := rx.TryRecv()
				require.True(t, ok)
				require.Equal(t, byte(i), v[0])
			}
			_, ok := rx.TryRecv()
			require.False(t, ok)
		}
	})
	t.Run("keeps the order while it grows and shrinks", func(t *testing.T) {
		for _, capacity := range []int{1, 2, 15, 16, 17, 100, 1 << 20} {
			tx, rx := future.Channel[int](capacity)
			in, out := 0, 0
			for round := range 400 {
				for range round % 97 {
					if tx.TrySend(in) {
						in++
					} else {
						require.Equal(t, capacity, in-out)
					}
				}
				for range (round * 7) % 101 {
					if v, ok := rx.TryRecv(); ok {
						require.Equal(t, out, v)
						out++
					}
				}
			}
		}
	})
	t.Run("a sender's waker that does not return takes no received value", func(t *testing.T) {
		for name, end := range endings {
			for _, try := range []bool{false, true} {
				tx, rx := future.Channel[int](1)
				tx.TrySend(1)
				send := tx.Send(2)
				require.False(t, send.Poll(rawwaker.NewContext(rawwaker.FromFunc(end))).IsReady())
				got, ended := 0, signal()
				go func() {
					defer close(ended)
					defer func() { _ = recover() }()
					if try {
						got, _ = rx.TryRecv()
					} else {
						got = poll(rx.Recv()).Value().Value
					}
				}()
				<-ended
				if name != "returns" {
					require.Zero(t, got)
					got, _ = rx.TryRecv()
				}
				require.Equal(t, 1, got, name)
				require.True(t, poll(send).IsReady(), name)
				require.Equal(t, 2, poll(rx.Recv()).Value().Value)
			}
		}
	})
}

func TestSleepsOfOneMillisecond(t *testing.T) {
	t.Run("are woken although wakers of some block", func(t *testing.T) {
		through := signal()
		d := time.Now().Add(1100 * time.Millisecond)
		var good sync.WaitGroup
		for range 10 {
			for _, wake := range []func(){func() { <-through }, good.Done, func() { <-through }} {
				future.Sleep(time.Until(d)).Poll(rawwaker.NewContext(rawwaker.FromFunc(wake)))
			}
			good.Add(1)
		}
		good.Wait()
		close(through)
	})
	t.Run("of two bubbles do not meet, however far", func(t *testing.T) {
		for _, d := range []time.Duration{time.Second, time.Hour, 20 * 365 * 24 * time.Hour, 50 * 365 * 24 * time.Hour, 200 * 365 * 24 * time.Hour} {
			synctest.Test(t, func(t *testing.T) { poll(future.Sleep(d)) })
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				blockon.BlockOn(future.Sleep(d))
				require.Equal(t, d, time.Since(start))
			})
		}
	})
	t.Run("of the greatest length wake nobody", func(t *testing.T) {
		var s step
		f := future.Sleep(math.MaxInt64)
		require.False(t, f.Poll(s.context()).IsReady())
		time.Sleep(10 * time.Millisecond)
		require.Zero(t, s.wakes.Load())
		drop(f)
	})
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

func TestAPollOfWhatIsAlwaysReadyLetsOthersRun(t *testing.T) {
	const n = 6400
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
		"Filter":              unit(future.Collect(future.Filter(future.Values(many...), func(int) bool { return false }))),
		"Then":                loop(n),
	} {
		require.GreaterOrEqual(t, others(f), n/64, name)
	}
}

// A loop of Thens that is quadratic, or that needs stack for each round, does not come to this end.
func TestThen(t *testing.T) {
	var loop func(n int) rawwaker.Future[int]
	rounds := 1_000_000
	if testing.Short() {
		rounds = 200_000
	}
	for name, first := range map[string]func() rawwaker.Future[struct{}]{
		"that is ready":   func() rawwaker.Future[struct{}] { return future.Ready(struct{}{}) },
		"that is pending": future.Yield,
	} {
		t.Run("that ends in itself costs each round the same, of a future "+name, func(t *testing.T) {
			loop = func(n int) rawwaker.Future[int] {
				return future.Then(first(), func(struct{}) rawwaker.Future[int] {
					if n == rounds {
						return future.Ready(n)
					}
					return loop(n + 1)
				})
			}
			require.Equal(t, rounds, blockon.BlockOn(loop(0)))
		})
	}
	t.Run("drops the tail of its tail once, wherever it is", func(t *testing.T) {
		for polls := range 5 {
			l := new(leaf)
			f := future.Then(future.Yield(), func(struct{}) rawwaker.Future[int] {
				return future.Then(future.Yield(), func(struct{}) rawwaker.Future[int] {
					return future.Then[int](l, func(int) rawwaker.Future[int] { return future.Ready(1) })
				})
			})
			for range polls {
				require.False(t, poll(f).IsReady())
			}
			drop(f)
			drop(f)
			require.Equal(t, polls > 2, l.drops == 1)
		}
	})
}

func TestNilIsRefusedWhereItIsGiven(t *testing.T) {
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
		"Then: nil future":        func() { future.Then[int](nil, func(int) rawwaker.Future[int] { return one }) },
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
			blockon.BlockOn(future.Async(func(aw *future.Awaiter) int { return future.Await[int](aw, nil) }))
		},
		"Then: the function returned a nil future": func() {
			blockon.BlockOn(future.Then(one, func(int) rawwaker.Future[int] { return nil }))
		},
	} {
		require.PanicsWithValue(t, "future: "+strings.TrimSpace(call), give)
	}
}
