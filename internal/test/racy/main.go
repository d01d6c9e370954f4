// Command racy drives one future, for the race detector to look at:
//
//	racy late       the waker's goroutine writes after its wake what the next poll reads: a race
//	racy correct    it writes before: none
//	racy correct-c  it writes before, then has a thread of C wake: none
//	racy late-c     late again, with a wake and a drop by C: the same race, and the detector is silent
//
// Each does it a few hundred times, with some of the wakes during the poll and some after. The next poll asks C whether the sender is done, and reads
// after: which of the two is first is the same in each run, and only what the detector knows of it differs.
package main

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// message is a future whose value is a plain variable, ordered by the wake alone.
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

// newDone makes a flag where the detector does not see it, in C's memory; isDone has C read it, by a call as any poll makes that has something of C.
var (
	newDone = func() *atomic.Uint32 { return new(atomic.Uint32) }
	isDone  = func(*atomic.Uint32) bool { return true } // without C: whichever is first
)

// correctC is correct with a thread of C, lateC late through C. Both are nil in a build without cgo.
var correctC, lateC func(m *message, w *rawwaker.Waker)

func main() {
	modes := map[string]func(m *message, w *rawwaker.Waker){"late": late, "correct": correct, "correct-c": correctC, "late-c": lateC}
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
