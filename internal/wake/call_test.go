package wake

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// within waits until ok says so. Nothing is measured: only a hang fails.
func within(ok func() bool) {
	for !ok() {
		runtime.Gosched()
	}
}

var elsewhere = map[string]Place{"dispatcher": Dispatcher, "worker": Worker}

func TestCall(t *testing.T) {
	t.Run("runs_on_the_goroutine_that_wakes", func(t *testing.T) {
		n := 0
		c := NewCall(func() { n++ })
		c.Run(Anywhere)
		c.Run(Anywhere)
		require.Equal(t, 2, n)
	})
	for name, at := range elsewhere {
		t.Run(name+"/runs_again_for_a_wake_that_came_before_it_called_Goexit", func(t *testing.T) {
			var c *Call
			n, done := 0, make(chan struct{})
			c = NewCall(func() {
				if n++; n == 2 {
					close(done)
					return
				}
				c.Run(at)
				runtime.Goexit()
			})
			c.Run(at)
			<-done
		})
		t.Run(name+"/coalesces_while_it_runs", func(t *testing.T) {
			var n atomic.Int32
			inside, release := make(chan struct{}), make(chan struct{})
			c := NewCall(func() { n.Add(1); inside <- struct{}{}; <-release })
			for range 100 {
				c.Run(at)
			}
			<-inside
			for range 100 {
				c.Run(at)
			}
			release <- struct{}{}
			<-inside // for those that came meanwhile
			release <- struct{}{}
			within(func() bool { return c.state.Load() == idle })
			require.EqualValues(t, 2, n.Load(), "one for those before it began, one for those after")
			within(func() bool { return Calls.Load() == 0 }) // counts up and down alike
		})
		t.Run(name+"/publishes_to_the_call", func(t *testing.T) { // for the race detector
			data, seen := 0, make(chan struct{})
			var over atomic.Bool
			c := NewCall(func() {
				if data == 3000 && !over.Swap(true) {
					close(seen)
				}
			})
			for range 3000 {
				c.Run(at)
				within(func() bool { return c.state.Load() == idle })
				data++
				c.Run(at)
			}
			<-seen
		})
		t.Run(name+"/blocked_delays_no_other", func(t *testing.T) {
			release := make(chan struct{})
			defer close(release)
			for range 300 {
				NewCall(func() { <-release }).Run(at)
			}
			done := make(chan struct{})
			NewCall(func() { close(done) }).Run(at)
			<-done
			done = make(chan struct{})
			at.Run(func() { close(done) })
			<-done
		})
		t.Run(name+"/goexit_loses_no_wake", func(t *testing.T) {
			var n atomic.Int32
			inside, release := make(chan struct{}), make(chan struct{})
			c := NewCall(func() {
				n.Add(1)
				inside <- struct{}{}
				<-release
				runtime.Goexit()
			})
			for range 3 {
				c.Run(at)
				<-inside
				c.Run(at)
				release <- struct{}{}
				<-inside
				release <- struct{}{}
				within(func() bool { return c.state.Load() == idle })
			}
			require.EqualValues(t, 6, n.Load())
		})
	}
	t.Run("worker/contains_a_panic", func(t *testing.T) {
		var n atomic.Int32
		c := NewCall(func() { n.Add(1); panic("a bug in a waker (expected in this test)") })
		for range 3 {
			c.Run(Worker)
			within(func() bool { return c.state.Load() == idle })
		}
		require.EqualValues(t, 3, n.Load())
	})
	t.Run("worker/stays_in_the_bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			ch := make(chan struct{})
			NewCall(func() { ch <- struct{}{} }).Run(Worker) // panics outside
			<-ch
		})
	})
}

func TestLater(t *testing.T) {
	t.Run("blocked_delays_no_other", func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		for range maxRunners / 4 {
			Later(func() { <-release })
		}
		done := make(chan struct{})
		Later(func() { close(done) })
		<-done
	})
	t.Run("starts_in_no_bubble", func(t *testing.T) {
		done := make(chan struct{})
		for _, start := range []func(func()){Later, Outside} {
			synctest.Test(t, func(t *testing.T) {
				start(func() { done <- struct{}{} }) // would hold the bubble up if it were in it
			})
			<-done
		}
	})
	t.Run("runners_end", func(t *testing.T) {
		var wg sync.WaitGroup
		wg.Add(1000)
		for range 1000 {
			Later(wg.Done)
		}
		wg.Wait()
		within(func() bool {
			later.mu.Lock()
			defer later.mu.Unlock()
			return later.runners == 0 && !later.watched && later.queue == nil
		})
	})
}

func TestEach(t *testing.T) {
	letters := []string{"a", "b", "c", "d", "e"}
	each := func(odd func()) (log string, v any) {
		defer func() { v = recover() }()
		Each(letters, func(s string) {
			log += s
			if s == "b" || s == "d" {
				odd()
			}
		})
		return log, nil
	}
	t.Run("calls_in_order", func(t *testing.T) {
		log, v := each(func() {})
		require.Equal(t, "abcde", log)
		require.Nil(t, v)
	})
	t.Run("panics_after_the_rest", func(t *testing.T) {
		log, v := each(func() { panic("bug") })
		require.Equal(t, "abcde", log)
		require.Equal(t, "bug", v)
	})
	t.Run("goexit_after_the_rest", func(t *testing.T) {
		log, returned := "", false
		var wg sync.WaitGroup
		wg.Go(func() {
			Each(letters, func(s string) {
				log += s
				if s == "b" || s == "d" {
					runtime.Goexit()
				}
			})
			returned = true
		})
		wg.Wait()
		require.Equal(t, "abcde", log)
		require.False(t, returned)
	})
	t.Run("blocked_delays_no_other", func(t *testing.T) {
		release := make(chan struct{})
		var began, ended sync.WaitGroup
		began.Add(len(letters))
		ended.Add(len(letters))
		go Each(letters, func(string) { began.Done(); <-release; ended.Done() })
		began.Wait()
		close(release)
		ended.Wait()
	})
	t.Run("many_blocked_delay_the_others_by_milliseconds", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const n = 500
			start, release := time.Now(), make(chan struct{})
			var began sync.WaitGroup
			began.Add(n)
			go Each(make([]struct{}, n), func(struct{}) { began.Done(); <-release })
			began.Wait()
			require.Less(t, time.Since(start), 15*slowAfter)
			close(release)
		})
	})
	t.Run("blocked_panic_and_goexit_at_once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			const n, blocked = 60, 40
			all := make([]int, n)
			for i := range all {
				all[i] = i
			}
			release := make(chan struct{})
			var began sync.WaitGroup
			began.Add(n)
			go Each(all, func(i int) {
				began.Done()
				if i < blocked {
					<-release
				}
				switch i % 10 {
				case 7:
					panic("a bug in a waker (expected in this test)")
				case 8:
					runtime.Goexit()
				}
			})
			began.Wait()
			close(release)
		})
	})
	t.Run("of_none_and_one", func(t *testing.T) {
		n := 0
		Each(nil, func(int) { n++ })
		Each([]int{1}, func(i int) { n += i })
		require.Equal(t, 1, n)
	})
}
