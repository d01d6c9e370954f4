//go:build cgo

package wake

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"

	"github.com/seed-8a1b3254/ffiwaker"
)

// The process's sink. Neither it nor its descriptor is ever closed: wakes may come for as long as C has threads.
var (
	sink      *ffiwaker.Sink
	sinkErr   error
	boxVTable = ffiwaker.BoxVTable()
)

// The dispatcher starts here, outside any testing/synctest bubble: one goroutine and one descriptor for each program.
func init() {
	if sink, sinkErr = ffiwaker.NewSink(); sinkErr == nil {
		go dispatch()
	}
}

// laterWanted asks the dispatcher to start runLater.
var laterWanted atomic.Bool

// dispatch brings the wakes of C to Go. It sleeps in Go's netpoller, so it costs no thread.
func dispatch() {
	readable := os.NewFile(sink.FD(), "ffiwaker wakes")
	var notices [256]ffiwaker.Notice
	var eight [8]byte
	for {
		drain(notices[:], false)
		if laterWanted.Swap(false) {
			go runLater()
		}
		if !sink.Sleep() {
			continue
		}
		if _, err := readable.Read(eight[:]); err != nil {
			// A system whose poller refuses the descriptor: then a thread waits for it.
			if syscall.SetNonblock(int(sink.FD()), false) != nil {
				panic("ffiwaker: reading the descriptor for wakes from C: " + err.Error())
			}
		}
	}
}

// drain reads the sink until it is empty, and wakes what it finds.
func drain(notices []ffiwaker.Notice, spinner bool) {
	var list uintptr
	for {
		n := sink.Read(&list, notices)
		if n == 0 {
			return
		}
		for _, notice := range notices[:n] {
			c := lookup(notice.ID)
			if c == nil {
				continue // closed since
			}
			switch {
			case notice.Woken == 0:
			case !c.user:
				c.Wake()
			case enqueueLater(c.target.Rouse):
				// A spinner may be inside a bubble, where a goroutine of the library must not start.
				if spinner {
					laterWanted.Store(true)
					sink.Kick()
				} else {
					go runLater()
				}
			}
			if notice.Last != 0 {
				c.retire(notice.ID)
			}
		}
	}
}

// Cross lends c to C with one reference more; ok is false where the task is over and a no-op does.
func (c *Core) Cross() (w ffiwaker.Raw, ok bool) { return c.cross(true) }

// Lend lends c to C without a reference: until [Core.End].
func (c *Core) Lend() (w ffiwaker.Raw, ok bool) { return c.cross(false) }

func (c *Core) cross(ref bool) (w ffiwaker.Raw, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() {
		return w, false
	}
	if c.box == 0 {
		if sinkErr != nil {
			panic("rawwaker: " + sinkErr.Error())
		}
		id := register(c)
		box := sink.BoxNew(id, c.user)
		if box == 0 {
			unregister(id)
			panic("rawwaker: out of memory for a waker's box")
		}
		c.box, c.id = box, id
		c.crossed.Store(true)
		canSpin.Store(runtime.GOMAXPROCS(0) > 1)
	}
	if ref {
		ffiwaker.BoxRef(c.box)
	}
	return ffiwaker.Raw{Data: c.box, VTable: boxVTable}, true
}

func (c *Core) closeBox() {
	c.mu.Lock()
	box, id := c.box, c.id
	c.box, c.id = 0, 0
	c.mu.Unlock()
	if box != 0 {
		unregister(id)
		ffiwaker.BoxClose(box)
	}
}

// retire frees the box where C has given up its last reference and Go has not lent it again since.
func (c *Core) retire(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.id != id || !ffiwaker.BoxRetire(c.box) {
		return
	}
	unregister(id)
	c.box, c.id = 0, 0
}

// CoreOf returns the core of a waker that is a box of this process's Go, nil for any other.
func CoreOf(w ffiwaker.Raw) *Core {
	if id := ffiwaker.BoxID(w); id != 0 {
		return lookup(id)
	}
	return nil
}

// spin waits a little for a wake from C, taking the sink's list itself, so that a hot exchange with a C thread goes through
// neither descriptor nor dispatcher. Only where this core has crossed to C, and another CPU could wake it.
func (p *Parker) spin() bool {
	if !p.crossed.Load() || !canSpin.Load() || !spinning.CompareAndSwap(false, true) {
		return false
	}
	var notices [16]ffiwaker.Notice
	// Producers write the descriptor only where they take this flag away; while it is 0, whoever spins watches the list.
	slept := atomic.SwapUint32(sink.Sleeping, 0) != 0
	woken := false
	for range spinTries {
		if woken = p.word.Load() == Notified; woken {
			break
		}
		if atomic.LoadUintptr(sink.Head) != 0 {
			drain(notices[:], true)
		}
	}
	if slept {
		// Back to the dispatcher, which sleeps on: what was listed meanwhile was announced to nobody.
		for atomic.StoreUint32(sink.Sleeping, 1); atomic.LoadUintptr(sink.Head) != 0; atomic.StoreUint32(sink.Sleeping, 1) {
			atomic.StoreUint32(sink.Sleeping, 0)
			drain(notices[:], true)
		}
	}
	spinning.Store(false)
	return woken || p.word.Load() == Notified
}

// canSpin: some other CPU can run Go meanwhile. Looked at again whenever a core crosses.
var canSpin atomic.Bool
