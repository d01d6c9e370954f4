package rawwaker

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

func TestState(t *testing.T) {
	t.Run("counts_a_million_calls_at_once_and_panics_beyond", func(t *testing.T) {
		s := state{uint32(foreign | countMask - 1)}
		require.True(t, s.enter(s.load()))
		require.PanicsWithValue(t, "rawwaker: more than a million calls at once on the same Waker",
			func() { s.enter(s.load()) })
		now, ends := s.leave()
		require.False(t, ends)
		require.Equal(t, foreign|countMask-1, now)
	})
	t.Run("ends_a_consumed_waker_in_the_last_of_its_calls", func(t *testing.T) {
		for _, how := range []snapshot{dropped, woken} {
			s := state{uint32(foreign)}
			require.True(t, s.enter(s.load()))
			require.True(t, s.enter(s.load()))
			require.False(t, s.enter(foreign), "the state is another by now")
			require.True(t, s.consume(s.load(), how))
			_, ends := s.leave()
			require.False(t, ends)
			now, ends := s.leave()
			require.True(t, ends)
			require.Equal(t, foreign|how|last, now)
		}
	})
	t.Run("names_how_a_waker_was_consumed", func(t *testing.T) {
		require.Equal(t, [3]string{"wake", "drop", "into_raw"},
			[3]string{consumedBy(woken), consumedBy(dropped), consumedBy(moved)})
	})
}

func TestNamed(t *testing.T) {
	t.Run("returns_the_future_itself_without_a_trace", func(t *testing.T) {
		if wake.Tracing() {
			t.Skip("there is a trace")
		}
		f := new(pending)
		require.Same(t, f, Named[int]("name", f))
	})
}

type pending struct{ _ int }

func (*pending) Poll(*Context) Poll[int] { return Pending[int]() }
