package wake

import (
	"sync"
	"time"
)

// later is the queue of foreign slots to be called for a finalizer or the dispatcher. Runners,
// which are goroutines, take from it in order. One runner is enough unless a slot blocks; then
// the starter starts another.
var later struct {
	mu      sync.Mutex
	queue   []func()
	runners int    // goroutines that call a slot, or are about to take one
	taken   uint64 // how many were taken out of queue so far
	watched bool   // the starter checks the queue every slowAfter
}

const (
	slowAfter  = 2 * time.Millisecond // a call that takes longer no longer delays others
	maxRunners = 256                  // each blocked slot of C holds a thread
)

// Later runs f soon, on a goroutine of the library's. It never blocks, so finalizers may call it.
// Any goroutine may call it, also inside a synctest bubble: f runs outside. An f that blocks delays
// the others by a few milliseconds at most, until 256 of them block.
func Later(f func()) {
	later.mu.Lock()
	later.queue = append(later.queue, f)
	call := later.runners == 0 || !later.watched
	later.mu.Unlock()
	if call {
		starter.call()
	}
}

// runLater is a runner. It holds no lock during f. If f ends the goroutine by runtime.Goexit,
// another takes over. If f panics, the program ends with that panic, as with any goroutine's.
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

// nextLater returns nil if there is nothing left; then the runner is no longer counted.
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

// admitLater reports whether another runner is to start: if there is none, or if none has taken
// anything for a while. waiting: the queue is not empty.
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

// starter is a goroutine that starts goroutines for callers that must not, because theirs would be
// in the caller's synctest bubble. It exists from the program's start, so it is outside any bubble.
var starter = newStarter()

type goroutines struct {
	called chan struct{}
	mu     sync.Mutex
	start  []func()
}

func newStarter() *goroutines {
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

// Outside starts f on a goroutine that is in no synctest bubble.
func Outside(f func()) {
	starter.mu.Lock()
	starter.start = append(starter.start, f)
	starter.mu.Unlock()
	starter.call()
}

func (k *goroutines) run() {
	for range k.called {
		var tick *time.Ticker
		taken := k.check(0, false)
		for taken != nil {
			if tick == nil {
				tick = time.NewTicker(slowAfter)
			}
			select {
			case <-k.called:
				// The ticker is independent of calls, so they postpone no check; nor may they
				// count as one.
				if k.check(*taken, false) == nil {
					taken = nil
				}
			case <-tick.C:
				taken = k.check(*taken, true)
			}
		}
		if tick != nil {
			tick.Stop()
		}
	}
}

// check starts what is to be started. It returns how many slots were taken so far; nil: none waits.
func (k *goroutines) check(since uint64, late bool) *uint64 {
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
