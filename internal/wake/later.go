package wake

import "sync"

// later is what users and foreign slots run for a finalizer or for the dispatcher, on a goroutine of its own that ends
// when there is nothing more to do.
var later struct {
	mu      sync.Mutex
	queue   []func()
	running bool
}

// Later runs f soon on the library's goroutine for foreign code. It never blocks, so finalizers may call it; a goroutine
// that may be inside a synctest bubble must not.
func Later(f func()) { Dispatcher.Run(f) }

// enqueueLater says whether the caller has to see to it that runLater starts.
func enqueueLater(f func()) (start bool) {
	later.mu.Lock()
	defer later.mu.Unlock()
	later.queue = append(later.queue, f)
	start = !later.running
	later.running = true
	return start
}

// runLater holds no lock over f. Where f ends the goroutine by runtime.Goexit, another one takes over; where it panics, the
// program ends with that panic, as it does for any goroutine's.
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

func nextLater() (f func()) {
	later.mu.Lock()
	defer later.mu.Unlock()
	if len(later.queue) == 0 {
		later.queue, later.running = nil, false
		return nil
	}
	f, later.queue[0] = later.queue[0], nil
	later.queue = later.queue[1:]
	return f
}
