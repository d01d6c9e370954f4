package future_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestAsync(t *testing.T) {
	t.Run("runs_only_while_it_is_polled", func(t *testing.T) {
		var log letters
		g := &gate{log: &log}
		f := future.Async(func(aw *future.Awaiter) int {
			log.add("a")
			v := future.Await(aw, g)
			log.add("b")
			return v
		})
		require.False(t, poll(f).IsReady())
		g.Open()
		log.add("|")
		require.Equal(t, 7, poll(f).Value())
		require.Equal(t, "ap|pb", log.String())
	})
	t.Run("may_be_polled_by_another_goroutine_each_time", func(t *testing.T) {
		f := future.Async(func(aw *future.Awaiter) (sum int) {
			for i := range 100 {
				future.Await(aw, future.Yield())
				sum += i
			}
			return sum
		})
		var p rawwaker.Poll[int]
		for !p.IsReady() {
			done := make(chan struct{})
			go func() {
				defer close(done)
				p = poll(f)
			}()
			<-done
		}
		require.Equal(t, 4950, p.Value())
	})
	t.Run("started_elsewhere_runs_on_a_goroutine_locked_to_its_thread", func(t *testing.T) {
		g := &gate{log: new(letters)}
		f := future.Async(func(aw *future.Awaiter) int {
			future.Await(aw, future.Yield())
			return future.Await(aw, g)
		})
		require.False(t, poll(f).IsReady())
		done := make(chan int)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			done <- blockon.BlockOn(f)
		}()
		g.Open()
		require.Equal(t, 7, <-done)
	})
	t.Run("polled_by_its_own_body_panics", func(t *testing.T) {
		var f rawwaker.Future[int]
		f = future.Async(func(aw *future.Awaiter) int { return future.Await(aw, f) })
		// Polling it panics. Then Await drops it, and that panics too.
		require.PanicsWithValue(t,
			"future: Drop: this Async is being polled (drop it when the poll has returned)",
			func() { blockon.BlockOn(f) })
	})
	t.Run("dropped_in_an_Await_drops_what_it_awaits_and_unwinds_the_body", func(t *testing.T) {
		var log letters
		outer := future.Async(func(aw *future.Awaiter) int {
			defer log.add("1")
			return future.Await(aw, future.Async(func(aw *future.Awaiter) int {
				defer log.add("2")
				defer func() {
					defer log.add("4")
					future.Await(aw, &gate{log: &log}) // returns at once: its future is dropped and not polled
					log.add("!")
				}()
				v := future.Await(aw, &gate{log: &log})
				log.add("!")
				return v
			}))
		})
		require.False(t, poll(outer).IsReady())
		drop(outer)
		require.Equal(t, "pdd421", log.String())
		drop(outer)
		require.Equal(t, "pdd421", log.String(), "a second Drop does nothing")
	})
	t.Run("Drop_panics_if_a_deferred_call_does", func(t *testing.T) {
		f := future.Async(func(aw *future.Awaiter) int {
			defer panic("boom")
			return future.Await(aw, &gate{log: new(letters)})
		})
		poll(f)
		require.PanicsWithValue(t, "boom", func() { drop(f) })
	})
}

func TestAwait(t *testing.T) {
	t.Run("drops_a_future_that_panics_and_the_body_may_continue", func(t *testing.T) {
		var log letters
		f := future.Async(func(aw *future.Awaiter) (got any) {
			defer func() { got = recover() }()
			return future.Await(aw, rawwaker.Future[int](&faulty{&log}))
		})
		require.Equal(t, "boom", blockon.BlockOn(f))
		require.Equal(t, "d", log.String())
	})
	t.Run("outside_its_body_panics", func(t *testing.T) {
		require.PanicsWithValue(t,
			"future: Await: nil Awaiter (use the one that the body of an Async gets)",
			func() { future.Await(nil, future.Ready(1)) })
		var kept *future.Awaiter
		blockon.BlockOn(future.Async(func(aw *future.Awaiter) int { kept = aw; return 1 }))
		require.PanicsWithValue(t, "future: Await: outside the body of its Async",
			func() { future.Await(kept, future.Ready(1)) })
	})
}

type faulty struct{ log *letters }

func (f *faulty) Poll(*rawwaker.Context) rawwaker.Poll[int] { panic("boom") }

func (f *faulty) Drop() { f.log.add("d") }
