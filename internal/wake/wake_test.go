package wake

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// scheduled counts calls of Schedule.
type scheduled struct{ n atomic.Int64 }

func (r *scheduled) Schedule(Place) { r.n.Add(1) }

// inboxed is a task with an inbox, or none.
type inboxed struct {
	scheduled
	in *Inbox
}

func (i *inboxed) Inbox() *Inbox { return i.in }

func TestCore(t *testing.T) {
	t.Run("schedules_by_the_wake_that_takes_Parked_away", func(t *testing.T) {
		var r scheduled
		var c Core
		c.Init(&r)
		c.Wake()
		require.Equal(t, Notified, c.word.Load())
		require.Zero(t, r.n.Load(), "awake: it only has to look at the word")
		require.True(t, c.Consume())
		require.False(t, c.Consume())
		c.word.Store(Parked)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(c.Wake)
		}
		wg.Wait()
		require.EqualValues(t, 1, r.n.Load())
		require.Equal(t, Notified, c.word.Load())
	})
	t.Run("is_plain_only_if_a_wake_runs_no_function_of_a_user", func(t *testing.T) {
		in, err := NewInbox()
		require.NoError(t, err)
		defer in.Close()
		var plain, function, relay, ofLocal, ofExecutor Core
		plain.Init(new(scheduled))
		function.InitFunc(new(scheduled))
		relay.InitRelay(nil)
		ofLocal.InitTask(&inboxed{in: in})
		ofExecutor.InitTask(new(inboxed))
		require.Equal(t, [5]bool{true, false, false, false, true}, [5]bool{
			plain.Plain(), function.Plain(), relay.Plain(), ofLocal.Plain(), ofExecutor.Plain(),
		})
	})
	t.Run("has_escaped_when_its_waker_was_given_out", func(t *testing.T) {
		var c Core
		require.Equal(t, FreshContexts, c.Escaped())
		c.MarkEscaped()
		require.True(t, c.Escaped())
	})
	// -race holds the exchange to its promise: a wake that only looked at the word would order
	// nothing.
	t.Run("publishes_writes_by_a_wake_that_finds_the_word_set", func(t *testing.T) {
		written := 0
		var through told
		for i := range 100 {
			p := NewParker()
			p.Wake()
			go func() {
				written++
				p.Wake()
				through.tell()
			}()
			for through.times() == i {
				runtime.Gosched()
			}
			require.True(t, p.Park(nil))
			require.Equal(t, i+1, written)
		}
	})
	// For the race detector, too.
	t.Run("may_be_read_while_it_is_woken", func(t *testing.T) {
		var r scheduled
		var c Core
		c.Init(&r)
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 2000 {
				c.Wake()
			}
		})
		for range 2000 {
			if c.Sleep() {
				c.Asleep()
			}
			c.Clear()
		}
		wg.Wait()
	})
}

func TestParker(t *testing.T) {
	t.Run("takes_away_one_notification_for_many_wakes", func(t *testing.T) {
		p := NewParker()
		p.Wake()
		p.Wake()
		require.True(t, p.Park(nil))
		require.Equal(t, Empty, p.word.Load())
		require.True(t, p.Reusable(), "it never slept")
		closed := make(chan struct{})
		close(closed)
		require.False(t, p.Park(closed))
		require.Equal(t, Empty, p.word.Load(), "no token is left")
	})
	// A wake that comes between the closing of done and the parker's second look has taken Parked
	// away, and will send.
	t.Run("cancelled_while_it_is_woken_leaves_no_token", func(t *testing.T) {
		for range 5000 {
			p := NewParker()
			done := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { close(done) })
			wg.Go(p.Wake)
			woken := p.Park(done)
			wg.Wait()
			require.Empty(t, p.ch)
			require.Equal(
				t,
				!woken,
				p.word.Load() == Notified,
				"the wake was consumed, or is there for the next look",
			)
		}
	})
	// For the race detector: a wake may come at each step of Park, and what it finds is exchanged,
	// never stored over.
	t.Run("sees_wakes_at_each_step_of_a_park", func(t *testing.T) {
		p := NewParker()
		var over atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range 20000 {
				p.Wake()
				if i%64 == 0 {
					runtime.Gosched()
				}
			}
			over.Store(true)
			p.Wake()
		})
		for !over.Load() {
			require.True(t, p.Park(nil))
		}
		wg.Wait()
	})
}

// told tells and orders nothing: the race detector sees neither side.
type told struct{ n int }

//go:norace
//go:noinline
func (t *told) tell() { t.n++ }

//go:norace
//go:noinline
func (t *told) times() int { return t.n }

func TestPlace(t *testing.T) {
	for _, at := range []Place{Anywhere, Dispatcher, Worker} {
		done := make(chan struct{})
		at.Go(func() { close(done) })
		<-done
		done = make(chan struct{})
		at.Run(func() { close(done) })
		<-done
	}
}

func TestTable(t *testing.T) {
	t.Run("never_gives_a_number_twice", func(t *testing.T) {
		seen := map[uint64]bool{}
		for range 1000 {
			c := new(crossing)
			id := registry.Put(c)
			require.NotZero(t, id)
			require.False(t, seen[id])
			seen[id] = true
			require.Same(t, c, registry.Get(id))
			registry.Take(id)
			registry.Take(id) // once more does nothing
			require.Nil(t, registry.Get(id))
		}
		require.Nil(t, registry.Get(0))
		require.Nil(t, registry.Get(math.MaxUint64))
		require.Zero(t, Registered())
	})
	t.Run("leaves_a_slot_alone_whose_generations_are_used_up", func(t *testing.T) {
		var table Table[Core]
		id := table.Put(new(Core))
		i := uint32(id)
		table.slot(id).gen.Store(math.MaxUint32)
		table.Take(math.MaxUint32<<32 | uint64(i))
		require.NotEqual(t, i, uint32(table.Put(new(Core))))
	})
}

func TestLaterGoexit(t *testing.T) {
	done := make(chan struct{})
	Later(runtime.Goexit)
	Later(func() { close(done) })
	<-done
}
