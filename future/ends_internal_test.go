package future

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func pollOnce[T any](f rawwaker.Future[T]) rawwaker.Poll[T] {
	return f.Poll(rawwaker.NewContext(rawwaker.Noop()))
}

func TestDroppedFuture(t *testing.T) {
	t.Run("Timeout_of_a_ready_future_drops_its_sleep", func(t *testing.T) {
		open := false
		f := Timeout[int](PollFn(func(*rawwaker.Context) rawwaker.Poll[int] {
			if open {
				return rawwaker.Ready(1)
			}
			return rawwaker.Pending[int]()
		}), time.Hour).(*timeout[int])
		require.False(t, pollOnce(f).IsReady())
		s := f.sleep.(*sleep)
		open = true
		require.Equal(t, 1, pollOnce(f).Value().Value)
		require.True(t, s.done)
	})
}

func TestChannelBuffer(t *testing.T) {
	t.Run("shrinks_with_its_values", func(t *testing.T) {
		s, r := Channel[int](1 << 20)
		for i := range 1000 {
			require.True(t, s.TrySend(i))
		}
		require.Len(t, s.c.buffer, 1024)
		for i := range 1000 {
			v, ok := r.TryRecv()
			require.True(t, ok)
			require.Equal(t, i, v)
		}
		require.Len(t, s.c.buffer, minBuffer)
	})
}
