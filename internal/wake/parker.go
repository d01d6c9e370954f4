package wake

// Parker is a core whose target is one goroutine, which sleeps on it.
type Parker struct {
	Core
	ch   chan struct{} // made at the first park: it belongs to that goroutine's synctest bubble
	loop *uint32       // the word of its box, while that is in LOOP: see spin
}

// Schedule implements [Target]: it unparks the goroutine. The send never blocks: only the wake that
// takes Parked away sends, and at most one goroutine is parked.
func (p *Parker) Schedule(Place) { p.ch <- struct{}{} }

// NewParker returns a parker that was not woken.
func NewParker() *Parker {
	p := new(Parker)
	p.Init(p)
	return p
}

// Reusable reports whether the parker is like new: its waker has not escaped and it never slept.
func (p *Parker) Reusable() bool { return !p.escaped && p.ch == nil }

// Park sleeps until a wake has come since the last Park, and takes it away. It returns false if
// done was closed first; a nil done never is.
func (p *Parker) Park(done <-chan struct{}) bool {
	if p.word.Load() == Notified || p.spin() {
		// An exchange and no store: a second wake may have come since the load, and what it wrote
		// must be seen too.
		p.word.Swap(Empty)
		return true
	}
	if p.ch == nil {
		p.ch = make(chan struct{}, 1)
	}
	if !p.word.CompareAndSwap(Empty, Parked) {
		p.word.Swap(Empty)
		return true
	}
	if Tracing() {
		p.Trace("park")
	}
	select {
	case <-p.ch:
	case <-done:
		if p.word.CompareAndSwap(Parked, Empty) {
			if Tracing() {
				p.Trace("unpark")
			}
			return false
		}
		<-p.ch // the wake that took Parked away is about to send
	}
	if Tracing() {
		p.Trace("unpark")
	}
	p.word.Swap(Empty)
	return true
}
