//go:build cgo

package rawwaker_test

import (
	"context"
	"runtime"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// replies checks that each reply of C was freed when the test ends.
func replies(t *testing.T) {
	balance.Check(t)
	before := ctest.RepliesLive()
	t.Cleanup(func() { require.Equal(t, before, ctest.RepliesLive()) })
}

// taken is a future of a query's text.
func taken(q ctest.Query) rawwaker.Future[string] {
	return rawwaker.FutureFromRawFunc(q.Raw(), (*ctest.Reply).Take)
}

func noopPoll[T any](f rawwaker.Future[T]) rawwaker.Poll[T] {
	return f.Poll(rawwaker.NewContext(rawwaker.Noop()))
}

// futureAddress returns where a future of C has written a C.
func futureAddress[C any](t *testing.T) uintptr {
	f := rawwaker.FutureFromRawFunc(script(t, "r").Raw(), func(c *C) uintptr {
		return uintptr(unsafe.Pointer(c))
	})
	return noopPoll(f).Value()
}

func TestFutureFromRawFunc(t *testing.T) {
	t.Run("gives_what_take_makes_of_the_result", func(t *testing.T) {
		replies(t)
		q := ctest.NewQuery()
		f := taken(q)
		go q.Complete(7)
		require.Equal(t, "7", blockon.BlockOn(f))
		require.PanicsWithValue(t, rawwaker.PolledAfterCompletion, func() { noopPoll(f) })
		f.(rawwaker.Dropper).Drop() // too late, and harmless
	})
	t.Run("gives_take_memory_that_is_zeroed_each_time", func(t *testing.T) {
		replies(t)
		for i := range uint64(100) { // C aborts if it is not
			q := ctest.NewQuery()
			f := taken(q)
			q.Complete(i)
			require.True(t, noopPoll(f).IsReady())
		}
		s := script(t, "z")
		f := rawwaker.FutureFromRawFunc(s.Raw(), func(c *uint64) uint64 { return *c })
		require.Zero(t, noopPoll(f).Value())
	})
	t.Run("gives_C_memory_that_is_aligned_for_any_type_of_its_size", func(t *testing.T) {
		require.Zero(t, futureAddress[[16]byte](t)%16)
		if runtime.GOOS == "windows" {
			return // its free takes no memory that is aligned for more
		}
		require.Zero(t, futureAddress[[64]byte](t)%64)
		require.Zero(t, futureAddress[[3 * 64]byte](t)%64)
		require.Zero(t, futureAddress[[4096]byte](t)%4096)
	})
	t.Run("drops_the_C_future_before_take", func(t *testing.T) {
		s := script(t, "r")
		f := rawwaker.FutureFromRawFunc(s.Raw(), func(c *uint64) int {
			require.EqualValues(t, 42, *c)
			return s.Drops()
		})
		require.Equal(t, 1, blockon.BlockOn(f))
	})
	t.Run("gives_take_an_address_also_if_the_result_is_empty", func(t *testing.T) {
		s := script(t, "r")
		f := rawwaker.FutureFromRawFunc(s.Raw(), func(c *struct{}) bool { return c != nil })
		require.True(t, blockon.BlockOn(f))
	})
	for how, leave := range unwinds {
		t.Run("has_ended_if_take_is_left_by_"+how, func(t *testing.T) {
			replies(t)
			q := ctest.NewQuery()
			f := rawwaker.FutureFromRawFunc(q.Raw(), func(r *ctest.Reply) string {
				r.Take()
				leave()
				return ""
			})
			q.Complete(1)
			require.True(t, left(func() { noopPoll(f) }))
			require.PanicsWithValue(t, rawwaker.PolledAfterCompletion, func() { noopPoll(f) })
			f.(rawwaker.Dropper).Drop()
		})
		if ctest.ASan {
			continue
		}
		t.Run("takes_the_result_if_the_drop_slot_is_left_by_"+how, func(t *testing.T) {
			s, takes := script(t, "R"), 0
			f := rawwaker.FutureFromRawFunc(s.Raw(), func(c *uint64) uint64 { takes++; return *c })
			require.True(t, unwound(leave, func() { noopPoll(f) }))
			require.Equal(t, 1, takes)
			f.(rawwaker.Dropper).Drop()
		})
		t.Run("is_pending_after_a_poll_that_is_left_by_"+how, func(t *testing.T) {
			s, takes := script(t, "cr"), 0
			f := rawwaker.FutureFromRawFunc(s.Raw(), func(c *uint64) uint64 { takes++; return *c })
			require.True(t, unwound(leave, func() { noopPoll(f) }))
			require.EqualValues(t, 42, noopPoll(f).Value())
			require.Equal(t, 1, takes)
		})
	}
	t.Run("panics_as_a_CFuture_does", func(t *testing.T) {
		take := func(*uint64) int { panic("take") }
		s := script(t, "p")
		func() {
			defer func() { require.Equal(t, &rawwaker.ForeignPanic{Message: "why not"}, recover()) }()
			noopPoll(rawwaker.FutureFromRawFunc(s.Raw(), take))
		}()
		f := rawwaker.FutureFromRawFunc(script(t, ".").Raw(), take)
		f.(rawwaker.Dropper).Drop()
		require.PanicsWithValue(t, "rawwaker: Poll of a CFuture after Drop", func() { noopPoll(f) })
		for want, raw := range map[string]rawwaker.RawFuture{
			"of a nil vtable":                     {},
			"of a vtable with an empty slot poll": ctest.HoledFuture(0),
			"of a vtable with an empty slot drop": ctest.HoledFuture(1),
		} {
			require.PanicsWithValue(t, "rawwaker: FutureFromRawFunc "+want, func() {
				rawwaker.FutureFromRawFunc(raw, take)
			})
		}
		r := script(t, "r").Raw()
		require.PanicsWithValue(t, "rawwaker: FutureFromRawFunc of a nil function", func() {
			rawwaker.FutureFromRawFunc[int, int](r, nil)
		})
		ctest.DropFuture(r)
	})
	t.Run("that_is_forgotten_is_dropped_by_the_collector", func(t *testing.T) {
		rawwaker.FutureFromRawFunc(script(t, "r").Raw(), func(*uint64) int { return 0 })
	})
	t.Run("releases_a_result_that_was_not_read", func(t *testing.T) {
		replies(t)
		q := ctest.NewQuery()
		f := taken(q)
		require.False(t, noopPoll(f).IsReady())
		q.Complete(1)
		f.(rawwaker.Dropper).Drop() // C still has the result
	})
	// Each task is aborted while a C thread delivers its result. Whichever comes first, the result
	// is freed once: ctest aborts at a second time, and replies counts.
	t.Run("frees_each_result_once_in_a_storm_of_aborts", func(t *testing.T) {
		replies(t)
		rounds := 300
		if testing.Short() || wake.FreshContexts {
			rounds = 30
		}
		const n = 100
		ex := executor.New()
		defer ex.Close()
		ready, aborted := 0, 0
		for range rounds {
			all := make([]ctest.Query, n)
			tasks := make([]*executor.JoinHandle[string], n)
			for i := range all {
				all[i] = ctest.NewQuery()
				tasks[i] = executor.Spawn(ex, taken(all[i]))
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				ctest.CompleteQueries(all)
			}()
			for i := range tasks {
				if i%4 != 0 {
					tasks[i].Abort()
				}
				runtime.Gosched()
			}
			<-done
			for _, h := range tasks {
				if r := blockon.BlockOn(h.Outcome()); r.Err == nil {
					ready++
				} else {
					require.ErrorIs(t, r.Err, executor.ErrAborted)
					aborted++
				}
			}
		}
		require.Equal(t, rounds*n, ready+aborted)
		require.GreaterOrEqual(t, ready, rounds*n/4)
		t.Logf("%d ready, %d aborted", ready, aborted)
	})
	t.Run("frees_each_result_once_in_a_storm_of_cancels", func(t *testing.T) {
		replies(t)
		rounds := 2000
		if testing.Short() || wake.FreshContexts {
			rounds = 200
		}
		for i := range rounds {
			ctx, cancel := context.WithCancel(t.Context())
			q := ctest.NewQuery()
			done := make(chan struct{})
			f := taken(q)
			go func() {
				defer close(done)
				if i%2 == 0 {
					cancel()
				}
				q.Complete(uint64(i))
				cancel()
			}()
			if v, err := blockon.Await(ctx, f); err == nil {
				require.NotEmpty(t, v)
			}
			<-done
		}
	})
	t.Run("is_awaited_with_others", func(t *testing.T) {
		replies(t)
		a, b := ctest.NewQuery(), ctest.NewQuery()
		both := future.Join(taken(a), taken(b))
		go func() { b.Complete(2); a.Complete(1) }()
		p := blockon.BlockOn(both)
		require.Equal(t, "1 2", p.First+" "+p.Second)
	})
}

// left reports whether f was left by a panic or Goexit.
func left(f func()) (left bool) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { recover() }()
		left = true
		f()
		left = false
	}()
	<-done
	return left
}

func TestRawFutureAt(t *testing.T) {
	s := script(t, "r")
	at, free := ctest.TwoWords()
	defer free()
	s.Raw().Put(at)
	require.Equal(t, s.Raw(), rawwaker.RawFutureAt(at))
	require.EqualValues(t, 42, blockon.BlockOn[uint64](
		rawwaker.FutureFromRaw[uint64](rawwaker.RawFutureAt(at))))
}
