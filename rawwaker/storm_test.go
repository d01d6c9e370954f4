//go:build cgo

package rawwaker_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// collect keeps the collector running until stop is called.
func collect() (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
			}
		}
	}()
	return func() { close(done); <-stopped }
}

func TestStorm(t *testing.T) {
	t.Run("of_C_wakers_ends_with_an_exact_count", func(t *testing.T) {
		task := newTask(t) // its cleanup: made + clones = wakes + drops
		const goroutines = 8
		made := 100_000
		if testing.Short() {
			made = 10_000
		}
		pool := ctest.NewPool(8, 1)
		stop := collect()
		var wg sync.WaitGroup
		for g := range goroutines {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(g), 2))
				var kept rawwaker.Waker
				for range made / goroutines {
					w := rawwaker.FromRaw(task.Waker())
					switch random.IntN(9) {
					case 0:
						w.Drop()
					case 1:
						w.Wake()
					case 2: // leaked
					case 3:
						w.Clone() // and both leaked
					case 4:
						w.Clone().Wake()
						w.WakeByRef()
						w.Drop()
					case 5:
						pool.Give(w.IntoRaw())
					case 6:
						pool.Give(w.Clone().IntoRaw())
						w.Wake()
					case 7:
						kept.CloneFrom(w)
						pool.Give(w.IntoRaw())
					case 8: // consumed beside a call on another goroutine
						var both sync.WaitGroup
						both.Go(func() {
							defer func() { _ = recover() }() // it may come too late
							w.WakeByRef()
						})
						w.Drop()
						both.Wait()
					}
				}
			})
		}
		wg.Wait()
		ops := pool.End()
		stop()
		for task.Counts().Live > 0 {
			runtime.GC()
			runtime.Gosched()
		}
		c := task.Counts()
		require.Equal(t, made/goroutines*goroutines, c.Made)
		t.Logf(
			"%d made, %d clones, %d wakes, %d drops; %d operations on C threads",
			c.Made,
			c.Clones,
			c.Wakes,
			c.Drops,
			ops,
		)
	})
	// Eight C threads wake one box. It ends with Go's side first or with C's; it is woken from Go as
	// well. A lost wake hangs the test, a circle in the list hangs the dispatcher, and what is freed
	// twice ASan sees.
	t.Run("on_boxes_loses_nothing_however_it_ends", func(t *testing.T) {
		balance.Check(t)
		rounds := 400
		if testing.Short() {
			rounds = 60
		}
		// i before each wake: once all eight have arrived and woken, some poll must see all of them.
		letters := []string{"iw", "cidw", "icwd", "rird", "iccwww", "ird", "cciwdd", "irw"}
		random := rand.New(rand.NewPCG(3, 4))
		for round := range rounds {
			before := ctest.Arrivals()
			var threads []*ctest.Thread
			var lent []rawwaker.RawWaker
			early := random.IntN(len(letters) + 1) // Go's side ends after so many arrivals
			polls := 0
			blockon.BlockOn(poll(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if polls++; polls == 1 {
					for _, l := range letters {
						threads = append(threads, ctest.Start(cx.Waker().Clone().IntoRaw(), l))
					}
					lent = append(lent, cx.Waker().Clone().IntoRaw())
				}
				if polls < 3 || random.IntN(4) == 0 {
					cx.Waker().WakeByRef() // polled for another cause
					return rawwaker.Pending[int]()
				}
				if ctest.Arrivals()-before < early {
					return rawwaker.Pending[int]()
				}
				return rawwaker.Ready(0)
			}))
			if round%2 == 0 { // C drops last; else Go's end came after C's
				for _, th := range threads {
					th.Join()
				}
				ctest.Drop(lent[0])
			} else {
				ctest.Wake(lent[0])
				for _, th := range threads {
					th.Join()
				}
			}
		}
	})
	t.Run("of_function_wakers_gives_every_box_back", func(t *testing.T) {
		balance.Check(t)
		rounds := 2000
		if testing.Short() {
			rounds = 200
		}
		pool := ctest.NewPool(8, 5)
		random := rand.New(rand.NewPCG(6, 7))
		for range rounds {
			w := rawwaker.FromFunc(func() {})
			for range 1 + random.IntN(3) {
				pool.Give(w.Clone().IntoRaw())
				if random.IntN(2) == 0 {
					w.AsRaw()
				}
			}
			w.Drop()
		}
		pool.End()
	})
}
