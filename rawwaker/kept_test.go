package rawwaker_test

import (
	"runtime"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func kept(w *rawwaker.Waker) *rawwaker.AtomicWaker {
	a := new(rawwaker.AtomicWaker)
	a.Register(w)
	w.Drop()
	return a
}

func TestWakeAll(t *testing.T) {
	// waiters are a task of BlockOn and of a WakerSet, each between wakers that misbehave.
	run := func(t *testing.T, at wake.Place, misbehave, release func()) (panicked any) {
		var woken sync.WaitGroup
		all := []*rawwaker.AtomicWaker{}
		bad := func() { all = append(all, kept(rawwaker.FromFunc(misbehave))) }
		for range 2 {
			bad()
			woken.Add(2)
			all = append(all, kept(rawwaker.FromFunc(woken.Done)))
			bad()
			task, relayed := new(rawwaker.AtomicWaker), new(rawwaker.AtomicWaker)
			all = append(all, task, relayed)
			waits := make(chan struct{})
			var s rawwaker.WakerSet
			s.Init(1)
			go func() {
				polls, asked := 0, 0
				blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
					for _, cx := range s.Woken(cx) {
						relayed.Register(cx.Waker())
						asked++
					}
					task.Register(cx.Waker())
					if polls++; polls == 1 {
						close(waits)
					}
					if asked < 2 {
						return rawwaker.Pending[int]()
					}
					s.Drop()
					return rawwaker.Ready(1)
				}))
				woken.Done()
			}()
			<-waits
			bad()
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			defer func() { panicked = recover() }()
			wake.WakeAll(all, at)
		}()
		woken.Wait()
		release()
		<-over
		return panicked
	}
	for name, at := range map[string]wake.Place{
		"anywhere": wake.Anywhere, "worker": wake.Worker, "dispatcher": wake.Dispatcher,
	} {
		t.Run(
			name+"/a_goexit_takes_no_other",
			func(t *testing.T) { run(t, at, runtime.Goexit, func() {}) },
		)
		t.Run(name+"/a_blocked_one_delays_no_other", func(t *testing.T) {
			block := make(chan struct{})
			run(t, at, func() { <-block }, func() { close(block) })
		})
		if at != wake.Dispatcher { // where a panic ends the program
			t.Run(name+"/a_panic_takes_no_other", func(t *testing.T) {
				v := run(t, at, func() { panic("a bug in a waker (expected in this test)") }, func() {})
				if at == wake.Anywhere {
					require.NotNil(t, v)
				} else {
					require.Nil(t, v)
				}
			})
		}
	}
}
