package wake

import (
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// roused counts calls of Rouse.
type roused struct{ n atomic.Int64 }

func (r *roused) Rouse(Place) { r.n.Add(1) }

func TestOnlyTheWakeThatTakesParkedAwayRouses(t *testing.T) {
	var r roused
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
}

func TestAParkerTakesAwayOneNotificationForManyWakes(t *testing.T) {
	p := NewParker()
	p.Wake()
	p.Wake()
	require.True(t, p.Park(nil))
	require.Equal(t, Empty, p.word.Load())
	require.True(t, p.Fresh(), "it never slept")
	closed := make(chan struct{})
	close(closed)
	require.False(t, p.Park(closed))
	require.Equal(t, Empty, p.word.Load(), "no token is left")
}

// A wake that comes between the closing of done and the parker's second look has taken Parked away, and will send.
func TestAParkerThatIsCancelledWhileItIsWokenLeavesNoToken(t *testing.T) {
	for range 5000 {
		p := NewParker()
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { close(done) })
		wg.Go(p.Wake)
		woken := p.Park(done)
		wg.Wait()
		require.Empty(t, p.ch)
		require.Equal(t, !woken, p.word.Load() == Notified, "the wake was consumed, or is there for the next look")
	}
}

// -race holds the exchange to its promise: a wake that only looked at the word would order nothing. That the other
// goroutine is through is learned from the number of goroutines, which the race detector takes for no synchronisation.
func TestAWakeThatFindsTheWordSetStillPublishes(t *testing.T) {
	written := 0
	for i := range 100 {
		p := NewParker()
		p.Wake()
		before := runtime.NumGoroutine()
		go func() {
			written++
			p.Wake()
		}()
		for runtime.NumGoroutine() > before {
			runtime.Gosched()
		}
		require.True(t, p.Park(nil))
		require.Equal(t, i+1, written)
	}
}

func TestNumbersAreNeverUsedTwice(t *testing.T) {
	seen := map[uint64]bool{}
	for range 1000 {
		c := new(Core)
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
}

func TestASlotWhoseGenerationsAreUsedUpIsLeftAlone(t *testing.T) {
	var table Table[Core]
	id := table.Put(new(Core))
	i := uint32(id)
	table.slot(id).gen.Store(math.MaxUint32)
	table.Take(math.MaxUint32<<32 | uint64(i))
	require.NotEqual(t, i, uint32(table.Put(new(Core))))
}

func TestAGoexitInAFunctionThatRunsLaterKeepsNoOtherFromRunning(t *testing.T) {
	done := make(chan struct{})
	Later(runtime.Goexit)
	Later(func() { close(done) })
	<-done
}

func TestLaterRunsAllInOrderAndItsGoroutineEnds(t *testing.T) {
	var order []int
	done := make(chan struct{})
	for i := range 100 {
		Later(func() {
			order = append(order, i)
			if i == 99 {
				close(done)
			}
		})
	}
	<-done
	for i, got := range order {
		require.Equal(t, i, got)
	}
}
