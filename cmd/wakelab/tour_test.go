package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/examples/article"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestTour(t *testing.T) {
	t.Run("prints_what_the_article_prints", func(t *testing.T) {
		start := time.Now()
		out, errs, status := lab()
		t.Logf("the tour took %v\n%s", time.Since(start), out)
		require.Zero(t, status)
		require.Empty(t, errs)
		fits(t, out)

		inC := 0
		if article.HasC {
			inC = 1
		}
		require.Equal(t, article.HasC, !strings.Contains(out, noCgo))
		words := strings.Join(strings.Fields(out), " ")
		require.Equal(t, 7+2*inC, strings.Count(words, "Result: 42"))
		require.Equal(t, 1+inC, strings.Count(words, "Poll #3 Poll #2 Poll #1 Poll #0"))
		require.Equal(t, 1+inC, strings.Count(words, "panic: future polled after completion"))
		require.Equal(t, 1+2*inC, strings.Count(words, "Timer expired after"))
		require.Contains(t, out, "Error: context deadline exceeded\n")
		require.Contains(t, out, "Read 13 bytes: Hello, waker!\n")
	})
	t.Run("has_a_row_for_each_example", func(t *testing.T) {
		var out strings.Builder
		for _, e := range examples {
			row(&out, "10", e.title, "10000000", "10000000", "10000.00ms", "10000.00ms")
			require.LessOrEqual(t, len(e.title), 56, e.title)
		}
		require.Equal(t, len(examples), strings.Count(out.String(), "\n"))
	})
}

func TestMeter(t *testing.T) {
	t.Run("counts_and_changes_nothing", func(t *testing.T) {
		var m meter
		require.Equal(t, 42, blockon.BlockOn(count(&m, article.Compute())))
		require.EqualValues(t, 1, m.polls.Load())
		require.EqualValues(t, 0, m.wakes.Load())

		m = meter{}
		f := count(&m, future.Async(func(aw *future.Awaiter) int {
			for range 3 {
				future.Await(aw, future.Yield())
			}
			return 7
		}))
		require.Equal(t, 7, blockon.BlockOn(f))
		require.EqualValues(t, 4, m.polls.Load())
		require.EqualValues(t, 3, m.wakes.Load())
	})
	// A waker that was kept after its task's end still counts, and wakes nothing.
	t.Run("accepts_a_late_wake", func(t *testing.T) {
		var m meter
		var kept *rawwaker.Waker
		f := count(&m, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
			kept = cx.Waker().Clone()
			return rawwaker.Ready(1)
		}))
		blockon.BlockOn(f)
		kept.Wake()
		require.EqualValues(t, 1, m.wakes.Load())
		f.(rawwaker.Dropper).Drop() // has ended already
	})
}
