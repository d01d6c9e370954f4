package wake

import (
	"sync"
	"time"
)

// later is the queue of foreign slots that run for a finalizer, or for the dispatcher. Runners,
// which are goroutines, take from it in order. One runner is enough unless a slot blocks: then
// the keeper starts another.
var later struct {
	mu      sync.Mutex
	queue   []func()
	runners int    // goroutines that run a slot, or look for one
	taken   uint64 // out of queue, ever
	watched bool   // the keeper looks at the queue every [patience]
}

const (
	patience   = 2 * time.Millisecond // how long a call may take before others stop waiting for it
	maxRunners = 256                  // each blocked slot of C holds a thread
)

// Later runs f soon, on a goroutine of the library's. It never blocks, so finalizers may call it.
// It may be called on any goroutine, also inside a synctest bubble: f runs outside. An f that
// blocks delays no other by more than a few milliseconds, until as many as 256 block.
func Later(f func()) {
	later.mu.Lock()
	later.queue = append(later.queue, f)
	call := later.runners == 0 || !later.watched
	later.mu.Unlock()
	if call {
		keeper.call()
	}
}

// runLater is a runner. It holds no lock over f. If f ends the goroutine by runtime.Goexit,
// another one takes over; if it panics, the program ends with that panic, as it does for any
// goroutine's.
func runLater() {
	done := false
	defer func() {
		if !done {
			go runLater()
		}
	}()
	for f := nextLater(); f != nil; f = nextLater() {
		f()
	}
	done = true
}

// nextLater returns nil when there is nothing left; then the runner is no longer counted.
func nextLater() (f func()) {
	later.mu.Lock()
	defer later.mu.Unlock()
	if len(later.queue) == 0 {
		later.queue = nil
		later.runners--
		return nil
	}
	later.taken++
	f, later.queue[0] = later.queue[0], nil
	later.queue = later.queue[1:]
	return f
}

// admitLater says whether another runner is to start: if there is none, or if none has taken
// anything for a while. waiting: something is in the queue.
func admitLater(since uint64, late bool) (start, waiting bool, taken uint64) {
	later.mu.Lock()
	defer later.mu.Unlock()
	waiting = len(later.queue) > 0
	stuck := late && later.taken == since && later.runners < maxRunners
	start = waiting && (later.runners == 0 || stuck)
	if start {
		later.runners++
	}
	later.watched = waiting
	return start, waiting, later.taken
}

// keeper is a goroutine that starts goroutines for callers that may not: they would be in the
// caller's synctest bubble. It is there from the program's start, so it is outside any bubble,
// and sleeps unless it was called.
var keeper = newKeeper()

type goroutines struct {
	called chan struct{}
	mu     sync.Mutex
	start  []func()
}

func newKeeper() *goroutines {
	k := &goroutines{called: make(chan struct{}, 1)}
	go k.run()
	return k
}

func (k *goroutines) call() {
	select {
	case k.called <- struct{}{}:
	default:
	}
}

// Outside starts a goroutine that is in no synctest bubble.
func Outside(f func()) {
	keeper.mu.Lock()
	keeper.start = append(keeper.start, f)
	keeper.mu.Unlock()
	keeper.call()
}

func (k *goroutines) run() {
	for range k.called {
		var tick *time.Ticker
		taken := k.look(0, false)
		for taken != nil {
			if tick == nil {
				tick = time.NewTicker(patience)
			}
			select {
			case <-k.called:
				// The tick goes on by itself, so calls put no look off; they must not count as
				// one either.
				if k.look(*taken, false) == nil {
					taken = nil
				}
			case <-tick.C:
				taken = k.look(*taken, true)
			}
		}
		if tick != nil {
			tick.Stop()
		}
	}
}

// look starts what is to be started. It returns how many slots were taken by now, nil if none
// waits.
func (k *goroutines) look(since uint64, late bool) *uint64 {
	k.mu.Lock()
	all := k.start
	k.start = nil
	k.mu.Unlock()
	for _, f := range all {
		go f()
	}
	start, waiting, taken := admitLater(since, late)
	if start {
		go runLater()
	}
	if !waiting {
		return nil
	}
	return &taken
}
