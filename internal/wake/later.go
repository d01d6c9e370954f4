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
func Later(f func()) {
	if enqueueLater(f) {
		go runLater()
	}
}

// enqueueLater says whether the caller has to see to it that runLater starts.
func enqueueLater(f func()) (start bool) {
	later.mu.Lock()
	defer later.mu.Unlock()
	later.queue = append(later.queue, f)
	start = !later.running
	later.running = true
	return start
}

func runLater() {
	later.mu.Lock()
	defer later.mu.Unlock()
	for len(later.queue) > 0 {
		batch := later.queue
		later.queue = nil
		for _, f := range batch {
			later.mu.Unlock()
			f()
			later.mu.Lock()
		}
	}
	later.running = false
}
