package wakertest_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// What the kit must not pass is in internal/test/broken.
func TestStream(t *testing.T) {
	// channel is a stream of a channel's values that wrap makes a stream of.
	channel := func(t *testing.T, wrap func(s rawwaker.Stream[int]) rawwaker.Stream[int]) {
		balance.Check(t)
		wakertest.TestStream(t, func(testing.TB) wakertest.Stream[int] {
			tx, rx := future.Channel[int](4)
			var sent atomic.Int64
			return wakertest.Stream[int]{
				Stream: wrap(rx.Stream()),
				Send:   func() { tx.TrySend(int(sent.Add(1) - 1)) },
				End:    tx.Close,
				IsItem: func(i int, v int) bool { return i == v },
			}
		})
	}
	t.Run("passes_a_channel", func(t *testing.T) {
		channel(t, func(s rawwaker.Stream[int]) rawwaker.Stream[int] { return s })
	})
	t.Run("passes_a_stream_through_C", func(t *testing.T) {
		skipWithoutCgo(t)
		channel(t, func(s rawwaker.Stream[int]) rawwaker.Stream[int] {
			return rawwaker.StreamFromRaw[int](rawwaker.StreamIntoRaw(s))
		})
	})
	t.Run("passes_a_stream_through_C_that_reads_ahead", func(t *testing.T) {
		skipWithoutCgo(t)
		channel(t, func(s rawwaker.Stream[int]) rawwaker.Stream[int] {
			raw := rawwaker.StreamIntoRawFunc(s, func(out unsafe.Pointer, v int) { *(*int)(out) = v + 1 })
			return rawwaker.StreamFromRawFunc(raw, func(c *int) int { return *c - 1 })
		})
	})
	t.Run("names_each_rule_once", func(t *testing.T) {
		names := map[string]bool{}
		for _, r := range wakertest.StreamRules() {
			require.False(t, names[r.Name], r.Name)
			require.NotContains(t, r.Rule, "future", fmt.Sprint(r))
			names[r.Name] = true
		}
		require.Len(t, names, 17)
	})
}
