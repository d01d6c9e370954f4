// Command racy drives one future, for the race detector to look at:
//
//	racy late       the waker's goroutine writes after its wake what the next poll reads: a race
//	racy correct    it writes before: none
//	racy correct-c  it writes before, then has a thread of C wake: none
//
// Each does it a few hundred times, with some of the wakes during the poll and some after.
package main

import (
	"os"
	"runtime"
	"sync"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// message is a future whose value is a plain variable, ordered by the wake alone.
type message struct {
	polls int
	value int
	send  func(m *message, w *rawwaker.Waker)
}

func (m *message) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	if m.polls++; m.polls > 1 {
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

// correctC, which is correct with a thread of C, is nil in a build without cgo.
var correctC func(m *message, w *rawwaker.Waker)

func main() {
	modes := map[string]func(m *message, w *rawwaker.Waker){"late": late, "correct": correct, "correct-c": correctC}
	if len(os.Args) != 2 || modes[os.Args[1]] == nil {
		os.Stderr.WriteString("usage: racy late|correct|correct-c\n")
		os.Exit(2)
	}
	send := modes[os.Args[1]]
	var wg sync.WaitGroup
	for round := range 300 {
		m := &message{send: func(m *message, w *rawwaker.Waker) {
			wg.Go(func() { send(m, w) })
			if round%2 == 0 {
				runtime.Gosched()
			}
		}}
		blockon.BlockOn(m)
		wg.Wait()
	}
}
