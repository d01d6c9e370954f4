//go:build cgo

package wakertest_test

import (
	"context"
	"fmt"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// recorder is a test that keeps what it is told.
type recorder struct {
	testing.TB
	atEnd  func()
	errors []string
}

func (r *recorder) Cleanup(f func()) { r.atEnd = f }

func (r *recorder) Error(
	args ...any,
) {
	r.errors = append(r.errors, fmt.Sprint(args...))
}
func (r *recorder) Errorf(format string, args ...any) { r.Error(fmt.Sprintf(format, args...)) }

// sleeping starts run and returns once a further goroutine sleeps in BlockOn.
func sleeping(t *testing.T, run func()) {
	t.Helper()
	asleep := func() int {
		text := make([]byte, 1<<20)
		n := 0
		for g := range strings.SplitSeq(string(text[:runtime.Stack(text, true)]), "\n\n") {
			head, _, _ := strings.Cut(g, "\n")
			if strings.Contains(g, "wake.(*Parker).Park") && !strings.Contains(head, "[runn") {
				n++
			}
		}
		return n
	}
	before := asleep()
	go run()
	require.Eventually(
		t,
		func() bool { return asleep() > before },
		wakertest.Patience,
		time.Millisecond,
	)
}

// forgets is a future that asks for its waker and drops it.
func forgets(cx *rawwaker.Context) rawwaker.Poll[int] {
	cx.Waker().Clone().Drop()
	return rawwaker.Pending[int]()
}

func sleepsForever() { blockon.BlockOn(future.PollFn(forgets)) }

func TestCheck(t *testing.T) {
	if pprof.Lookup("goroutineleak") == nil {
		t.Skip("this Go has no goroutineleak profile")
	}
	t.Run("reports_a_BlockOn_that_nothing_can_wake", func(t *testing.T) {
		r := &recorder{TB: t}
		wakertest.Check(r)
		sleeping(t, sleepsForever)
		r.atEnd()
		require.Len(t, r.errors, 1)
		require.Contains(t, r.errors[0], "wakertest: Check: 1 goroutines sleep and nothing can wake them")
		require.Contains(t, r.errors[0], "sleepsForever")
		require.Contains(t, r.errors[0], "asleep_cgo_test.go:")

		again := &recorder{TB: t}
		wakertest.Check(again)
		again.atEnd()
		require.Empty(t, again.errors, "it slept before that test")
	})
	t.Run("reports_none_that_can_be_woken", func(t *testing.T) {
		wake := make(chan *rawwaker.Waker, 1)
		kept := func(cx *rawwaker.Context) rawwaker.Poll[int] {
			wake <- cx.Waker().Clone()
			return rawwaker.Pending[int]()
		}
		once := func(f func(cx *rawwaker.Context) rawwaker.Poll[int]) rawwaker.Future[int] {
			polled := false
			return future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				if polled {
					return rawwaker.Ready(1)
				}
				polled = true
				return f(cx)
			})
		}
		crossed := make(chan rawwaker.RawWaker, 2)
		toC := func(cx *rawwaker.Context) rawwaker.Poll[int] {
			crossed <- cx.Waker().Clone().IntoRaw()
			return rawwaker.Pending[int]()
		}
		for _, c := range []struct {
			name string
			f    func() rawwaker.Future[int] // what only the sleeping goroutine reaches
			end  func()
		}{
			{"by_Go", func() rawwaker.Future[int] { return once(kept) }, func() { (<-wake).Wake() }},
			{"by_C", func() rawwaker.Future[int] { return once(toC) }, func() { ctest.Wake(<-crossed) }},
			{"by_C_below_a_Join", func() rawwaker.Future[int] {
				return future.Map(future.JoinAll(once(toC), once(toC)), func([]int) int { return 1 })
			}, func() { ctest.Wake(<-crossed); ctest.Wake(<-crossed) }},
			{"by_a_timer", func() rawwaker.Future[int] {
				return future.Map(future.Sleep(300*time.Millisecond), func(struct{}) int { return 1 })
			}, func() {}},
			{"by_a_far_timer", func() rawwaker.Future[int] {
				return future.Map(future.Sleep(1200*time.Millisecond), func(struct{}) int { return 1 })
			}, func() {}},
			{"by_a_goroutine", func() rawwaker.Future[int] {
				return future.Map(future.Go(func(context.Context) (int, error) {
					time.Sleep(200 * time.Millisecond)
					return 1, nil
				}), func(r rawwaker.Result[int]) int { return r.Value })
			}, func() {}},
		} {
			t.Run(c.name, func(t *testing.T) {
				r := &recorder{TB: t}
				wakertest.Check(r)
				done := make(chan int)
				sleeping(t, func() { done <- blockon.BlockOn(c.f()) })
				r.atEnd()
				c.end()
				require.Equal(t, 1, <-done)
				require.Empty(t, r.errors)
			})
		}
	})
}
