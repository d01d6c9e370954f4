package rawwaker

import (
	"fmt"
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

// counter is a task, or a relay, that counts how often it is scheduled.
type counter struct {
	core wake.Core
	n    int
}

func (c *counter) Schedule(wake.Place)         { c.n++ }
func (c *counter) Root() *wake.Core            { return nil }
func (c *counter) Group() (*wake.Group, int32) { return wake.GroupOfOne(&c.core), 0 }

func TestTake(t *testing.T) {
	for _, kept := range []string{"lent", "clone"} {
		for _, relay := range []bool{false, true} {
			t.Run(fmt.Sprintf("wakes_what_runs_no_users_function/%s/relay_%t", kept, relay),
				func(t *testing.T) {
					c, cx := new(counter), new(Context)
					if relay {
						c.core.InitRelay(c)
					} else {
						c.core.Init(c)
					}
					cx.bind(&c.core)
					require.True(t, c.core.Sleep())
					var a AtomicWaker
					require.Nil(t, a.take(), "there is none")
					if kept == "lent" {
						a.Register(cx.Waker())
					} else {
						w := cx.Waker().Clone()
						a.Register(w)
						w.Drop()
					}
					wakes := a.take()
					require.Nil(t, a.take(), "it was taken")
					if relay {
						require.NotNil(t, wakes)
						require.Zero(t, c.n)
						wakes()
					} else {
						require.Nil(t, wakes)
					}
					require.Equal(t, 1, c.n)
				})
		}
	}
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
