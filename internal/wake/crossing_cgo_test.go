//go:build cgo && unix

package wake

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

func TestCrossing(t *testing.T) {
	t.Run("is_made_once_if_two_lend_the_core_at_once", func(t *testing.T) {
		for range 2000 {
			var r scheduled
			var c Core
			c.Init(&r)
			var got [2]*crossing
			var wg sync.WaitGroup
			for i := range got {
				wg.Go(func() { got[i] = c.cross() })
			}
			wg.Wait()
			require.NotNil(t, got[0])
			require.Same(t, got[0], got[1])
			c.End()
			require.Nil(t, c.cross())
		}
	})
	// For the race detector.
	t.Run("may_end_while_two_lend_it", func(t *testing.T) {
		for range 200 {
			var r scheduled
			var c Core
			c.Init(&r)
			var wg sync.WaitGroup
			meet := meeting(2) // so that both find nothing
			for range 2 {
				wg.Go(func() { meet(); c.cross() })
			}
			wg.Go(c.End)
			wg.Wait()
			require.Nil(t, c.cross())
		}
	})
}

// For the race detector: nothing but the word orders these calls.
func TestLent(t *testing.T) {
	for range 50 {
		var r scheduled
		var c Core
		c.Init(&r)
		var wg sync.WaitGroup
		wg.Go(func() { c.Lent() })
		wg.Go(func() { c.Lend() })
		wg.Wait()
		require.False(t, c.Lent(), "it was lent without a reference")
		c.End()
	}
}

// meeting returns what n goroutines call to go on together. One that waits long sleeps: the other
// may need its CPU.
func meeting(n int32) (meet func()) {
	var there atomic.Int32
	return func() {
		there.Add(1)
		for turns := 0; there.Load() < n; turns++ {
			if turns > 10_000 {
				time.Sleep(time.Microsecond)
			}
		}
	}
}

func TestInboxInC(t *testing.T) {
	// For the race detector, too: what a host may do at any time.
	t.Run("may_get_its_hook_and_be_closed_twice_while_it_is_woken", func(t *testing.T) {
		for i := range 200 {
			in, err := NewInbox()
			require.NoError(t, err)
			var wg sync.WaitGroup
			wg.Go(func() {
				for range 10 {
					in.Take(Anywhere)
				}
			})
			wg.Go(func() {
				if w := capi.Noop(); i%2 == 0 {
					in.OnWake(func(Place) {})
				} else {
					in.WakeRaw(w.Data, w.VTable, func() {}, func() {})
				}
			})
			for range 2 {
				wg.Go(in.Close)
			}
			wg.Wait()
			require.True(t, in.over.Load())
		}
	})
	// For the race detector: both at once, because one after the other is ordered by the count of
	// calls.
	t.Run("may_be_woken_while_its_hook_is_set", func(t *testing.T) {
		for i := range 1000 {
			in, err := NewInbox()
			require.NoError(t, err)
			var wg sync.WaitGroup
			meet := meeting(2)
			wg.Go(func() { meet(); in.Take(Anywhere) })
			wg.Go(func() {
				meet()
				if w := capi.Noop(); i%2 == 0 {
					in.OnWake(func(Place) {})
				} else {
					in.WakeRaw(w.Data, w.VTable, func() {}, func() {})
				}
			})
			wg.Wait()
			in.Close()
		}
	})
	t.Run("that_may_not_sleep_is_not_woken", func(t *testing.T) {
		in, err := NewInbox()
		require.NoError(t, err)
		defer in.Close()
		called := 0
		in.OnWake(func(Place) { called++ })
		require.False(t, in.Arm(func() bool { return false }))
		in.Take(Anywhere)
		require.Zero(t, called)
		require.True(t, in.Arm(func() bool { return true }))
		in.Take(Anywhere)
		require.Equal(t, 1, called)
	})
	t.Run("reports_an_earlier_wake_by_a_descriptor_that_is_opened_late", func(t *testing.T) {
		in, err := NewInbox()
		require.NoError(t, err)
		defer in.Close()
		in.Take(Anywhere) // the descriptor is not open yet
		fd, err := in.FD(nothing)
		require.NoError(t, err)
		require.True(t, readable(t, fd))
		require.True(t, in.Arm(func() bool { return true }))
		require.False(t, readable(t, fd))
		fd, err = in.FD(nothing)
		require.NoError(t, err)
		require.False(t, readable(t, fd))
		in.Take(Anywhere)
		require.True(t, readable(t, fd))
		in.quiet()
		_, err = in.FD(nothing)
		require.NoError(t, err)
		require.False(t, readable(t, fd), "it was reported already")
	})
	// A late wake has taken the flag and called no hook, because there was none: the call that sets
	// one must return that the inbox is not idle.
	t.Run("whose_flag_was_taken_is_not_idle", func(t *testing.T) {
		in, err := NewInbox()
		require.NoError(t, err)
		defer in.Close()
		require.True(t, in.Asleep(nothing))
		in.Take(Anywhere)
		require.False(t, in.Asleep(nothing))
		require.True(t, in.Arm(func() bool { return true }))
		require.True(t, in.Asleep(nothing))
	})
	t.Run("is_ended_although_late_calls_come", func(t *testing.T) {
		in, err := NewInbox()
		require.NoError(t, err)
		require.True(t, in.enter())
		in.Close()
		in.Take(Anywhere) // too late
		require.False(t, in.over.Load(), "a call is inside")
		in.leave()
		require.True(t, in.over.Load())
	})
	// From then on a thread of C that is about to wake the hook finds none.
	t.Run("has_no_hook_after_Close", func(t *testing.T) {
		for range 100 {
			before := Registered()
			in, err := NewInbox()
			require.NoError(t, err)
			in.OnWake(func(Place) {})
			require.Equal(t, before+1, Registered())
			in.Close()
			require.Equal(t, before, Registered())
		}
	})
	t.Run("calls_the_hook_for_each_wake_that_found_the_flag", func(t *testing.T) {
		in, err := NewInbox()
		require.NoError(t, err)
		defer in.Close()
		var called atomic.Int64
		in.OnWake(func(Place) { called.Add(1) })
		const takers = 2
		for range 5000 {
			called.Store(0)
			require.True(t, in.Arm(nothing))
			var wg sync.WaitGroup
			meet := meeting(takers)
			for range takers {
				wg.Go(func() { meet(); in.Take(Anywhere) })
			}
			wg.Wait()
			n := called.Load() // each that has seen the host asleep
			require.True(t, 1 <= n && n <= takers, n)
			in.Take(Anywhere)
			require.Equal(t, n, called.Load(), "it is awake")
		}
	})
	t.Run("drops_the_waker_of_the_host_once_at_its_end", func(t *testing.T) {
		in, err := NewInbox()
		require.NoError(t, err)
		w := capi.Noop()
		woken, dropped := 0, 0
		require.True(t, in.WakeRaw(w.Data, w.VTable, func() { woken++ }, func() { dropped++ }))
		in.Take(Anywhere)
		require.Equal(t, 1, woken)
		in.Close()
		in.Close()
		in.Take(Anywhere)
		require.Equal(t, 1, woken)
		require.Equal(t, 1, dropped)
		require.False(t, in.WakeRaw(w.Data, w.VTable, nil, nil))
	})
	// Whatever uses the inbox meanwhile, such as a poll of a C future that lasts.
	t.Run("gives_its_descriptor_up_at_Close", func(t *testing.T) {
		in, err := NewInbox()
		require.NoError(t, err)
		number := fd(t, in)
		require.True(t, in.enter())
		in.Close()
		require.False(t, isOpen(number))
		other, err := unix.Dup(0)
		require.NoError(t, err)
		defer unix.Close(other)
		require.True(t, in.Arm(nothing), "which reads nothing of the number's next owner")
		in.Take(Anywhere)
		in.leave()
		require.True(t, in.over.Load())
	})
}

func TestSpin(t *testing.T) {
	// A BlockOn that was woken while it spun stays in LOOP over its next poll, and leaves LOOP
	// before it sleeps.
	t.Run("in_LOOP", func(t *testing.T) {
		over := make(chan struct{})
		close(over)
		for _, spins := range []bool{true, false} { // false: another one spins
			p := NewParker()
			w, ok := p.Cross()
			require.True(t, ok)
			word := capi.BoxWord(w.Data)
			state := func() uint32 { return atomic.LoadUint32(word) }
			if !spins {
				for !spinning.CompareAndSwap(false, true) {
					runtime.Gosched()
				}
			}
			p.enterLoop(p.crossing.Load())
			for range 2 {
				require.EqualValues(t, capi.BoxLoop, state())
				capi.WakeByRef(w) // during the poll
				require.EqualValues(t, capi.BoxWoken, state())
				require.False(t, p.Asleep())
				require.True(t, p.Park(nil))
				require.EqualValues(t, capi.BoxLoop, state())
			}
			p.Wake() // of Go
			require.True(t, p.Park(nil))
			require.False(t, p.Park(over))
			require.EqualValues(t, capi.BoxIdle, state())
			require.Nil(t, p.loop)
			if !spins {
				spinning.Store(false)
			}
			capi.WakeByRef(w) // through the list
			require.True(t, p.Park(nil))

			for !atomic.CompareAndSwapUint32(word, capi.BoxIdle, capi.BoxLoop) {
				runtime.Gosched() // until the dispatcher has read it
			}
			p.loop = word
			p.End() // as after the poll that is ready
			capi.WakeByRef(w)
			require.EqualValues(t, capi.BoxWoken, state())
			capi.Drop(w)
		}
	})
	t.Run("does_not_enter_LOOP_if_its_box_is_listed", func(t *testing.T) {
		p := NewParker()
		w, ok := p.Cross()
		require.True(t, ok)
		word := capi.BoxWord(w.Data)
		atomic.StoreUint32(word, capi.BoxWoken)
		p.enterLoop(p.crossing.Load())
		require.Nil(t, p.loop)
		atomic.StoreUint32(word, capi.BoxIdle)
		p.End()
		capi.Drop(w)
	})
}
