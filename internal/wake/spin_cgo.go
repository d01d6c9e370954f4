//go:build cgo

package wake

import (
	"runtime"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// At most one BlockOn of the process spins at a time.
var spinning atomic.Bool

// spinTries is how often a spinning BlockOn looks before it parks.
const spinTries = 4000

// canSpin: another CPU can run Go meanwhile. It is set whenever a core crosses to C.
var canSpin atomic.Bool

func updateCanSpin() { canSpin.Store(runtime.GOMAXPROCS(0) > 1) }

// spin watches the parker's own box for a short time, so that a C thread that answers at once needs
// neither descriptor nor dispatcher. It spins only if the core has crossed to C and another CPU
// could wake it. It touches nothing that another task's wake needs: a spinner that is stopped
// delays only its own wakes.
//
// After a wake the box stays in LOOP during the poll that follows, because the next wake may come
// before the next park. It leaves LOOP before the parker sleeps. At the end of the core it is
// closed, like any box.
func (p *Parker) spin() (woken bool) {
	if p.loop != nil && atomic.LoadUint32(p.loop) == capi.BoxWoken {
		p.looped(capi.BoxLoop)
		return true
	}
	x := p.crossing.Load()
	if x == nil {
		return false
	}
	if canSpin.Load() && spinning.CompareAndSwap(false, true) {
		if p.loop == nil {
			p.enterLoop(x)
		}
		for range spinTries {
			if p.word.Load() == Notified || p.loop != nil && atomic.LoadUint32(p.loop) == capi.BoxWoken {
				woken = true
				break
			}
		}
		spinning.Store(false)
	}
	if p.loop == nil {
		return woken
	}
	if !woken {
		return p.looped(capi.BoxIdle)
	}
	if atomic.LoadUint32(p.loop) == capi.BoxWoken {
		p.looped(capi.BoxLoop)
	}
	return true
}

// enterLoop puts the box in LOOP, unless a wake is on its way here through the list.
func (p *Parker) enterLoop(x *crossing) {
	x.mu.Lock()
	box := x.box // stays until the core's end
	x.mu.Unlock()
	if box == 0 {
		return
	}
	if word := capi.BoxWord(box); atomic.CompareAndSwapUint32(word, capi.BoxIdle, capi.BoxLoop) {
		p.loop = word
	}
}

// looped takes a wake out of the box, which is in LOOP, and leaves it in next: LOOP or IDLE.
func (p *Parker) looped(next uint32) (woken bool) {
	woken = atomic.SwapUint32(p.loop, next) == capi.BoxWoken
	if next == capi.BoxIdle {
		p.loop = nil
	}
	if woken {
		// The race detector takes any cgo call for a synchronisation with the call that has woken.
		capi.Live()
		if Tracing() {
			p.Trace("delivered")
		}
	}
	return woken
}
