// Command racy runs a future with or without a data race, to test the race detector.
//
//	racy late       the waking goroutine writes, after its wake, what the next poll reads: a race
//	racy correct    it writes before its wake: no race
//	racy correct-c  it writes before a C thread wakes: no race
//	racy late-c     like late, but C wakes and drops: the same race, which the detector misses
//
// Each runs 300 times; in half of the runs the poll yields, so that the wake comes during it. The
// next poll asks C whether the sender is done, and reads after that. So the order of the write and
// the read is the same in each run; only what the detector knows about it differs.
package main

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// message is a future whose value is a plain variable: only the wake orders its accesses.
type message struct {
	polls int
	value int
	done  *atomic.Uint32
	send  func(m *message, w *rawwaker.Waker)
}

func (m *message) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	if m.polls++; m.polls > 1 {
		for !isDone(m.done) {
			runtime.Gosched()
		}
		return rawwaker.Ready(m.value)
	}
	m.send(m, cx.Waker().Clone())
	return rawwaker.Pending[int]()
}

func late(m *message, w *rawwaker.Waker) {
	w.Wake()
	m.value = 42
}

func correct(m *message, w *rawwaker.Waker) {
	m.value = 42
	w.Wake()
}

// newDone returns a flag in C memory, which the detector does not see. isDone reads it in C.
var (
	newDone = func() *atomic.Uint32 { return new(atomic.Uint32) }
	isDone  = func(*atomic.Uint32) bool { return true } // without cgo the order is not fixed
)

// correctC and lateC are correct and late with wakes by C. They are nil in a build without cgo.
var correctC, lateC func(m *message, w *rawwaker.Waker)

func main() {
	modes := map[string]func(m *message, w *rawwaker.Waker){
		"late": late, "correct": correct, "correct-c": correctC, "late-c": lateC,
	}
	if len(os.Args) != 2 || modes[os.Args[1]] == nil {
		os.Stderr.WriteString("usage: racy late|correct|correct-c|late-c\n")
		os.Exit(2)
	}
	send := modes[os.Args[1]]
	var wg sync.WaitGroup
	for round := range 300 {
		m := &message{done: newDone(), send: func(m *message, w *rawwaker.Waker) {
			wg.Go(func() {
				send(m, w)
				m.done.Store(1)
			})
			if round%2 == 0 {
				runtime.Gosched()
			}
		}}
		blockon.BlockOn(m)
		wg.Wait()
	}
}
