package future

import (
	"sync"
	"sync/atomic"
	"time"
)

// each runs do on all that pop gives, one after the other on the calling goroutine, and returns when all have returned. Where one panics or
// calls runtime.Goexit, the rest is run first. Where one has not returned for a while, the rest is run beside it, by goroutines that are
// the caller's: of the same synctest bubble. What panics there, each panics with at its end. pop may be called by several at once.
//
// It is for lists of wakers, any of which may be a function of the user's.
func each[T any](pop func() (T, bool), do func(T)) {
	first, ok := pop()
	if !ok {
		return
	}
	second, ok := pop()
	if !ok {
		do(first)
		return
	}
	r := &round[T]{do: do, next: pop}
	r.ready = []T{first, second}
	r.mu.Lock() // watch may run before AfterFunc has returned here
	r.timer = time.AfterFunc(patience, r.watch)
	r.mu.Unlock()
	defer r.wait()
	r.run()
}

// patience is how long one may take before others are run beside it, and how often that is looked at.
const patience = time.Millisecond

type round[T any] struct {
	do    func(T)
	next  func() (T, bool)
	begun atomic.Int64 // how many do has been called for

	mu      sync.Mutex
	ready   []T // popped already
	timer   *time.Timer
	seen    int64         // begun, when watch has looked last
	helpers int           // that are running
	more    int           // how many start next
	over    bool          // nothing is left
	idle    chan struct{} // closed when the last helper ends, where the caller waits for that
	failed  any           // what a helper has panicked with first
}

func (r *round[T]) pop() (v T, ok bool) {
	r.mu.Lock()
	if n := len(r.ready); n > 0 {
		v, r.ready = r.ready[0], r.ready[1:]
		r.mu.Unlock()
		return v, true
	}
	r.mu.Unlock()
	if v, ok = r.next(); !ok {
		r.mu.Lock()
		r.over = true
		r.mu.Unlock()
	}
	return v, ok
}

// run does what is left, also when one of them has panicked or called Goexit.
func (r *round[T]) run() {
	done := false
	defer func() {
		if !done {
			r.run()
		}
	}()
	for v, ok := r.pop(); ok; v, ok = r.pop() {
		r.begun.Add(1)
		r.do(v)
	}
	done = true
}

// watch starts helpers, twice as many each time, while none has begun since it looked last.
func (r *round[T]) watch() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	if n := r.begun.Load(); n != r.seen {
		r.seen = n
	} else {
		r.more = max(1, 2*r.more)
		r.helpers += r.more
		for range r.more {
			go r.help()
		}
	}
	r.timer.Reset(patience)
}

func (r *round[T]) help() {
	defer func() {
		v := recover()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.failed == nil {
			r.failed = v
		}
		if r.helpers--; r.helpers == 0 && r.idle != nil {
			close(r.idle)
		}
	}()
	r.run()
}

// wait ends the round: nothing is left to be begun.
func (r *round[T]) wait() {
	r.mu.Lock()
	r.over = true
	r.timer.Stop()
	busy := r.helpers > 0
	if busy {
		r.idle = make(chan struct{})
	}
	r.mu.Unlock()
	if busy {
		<-r.idle
	}
	if r.failed != nil {
		panic(r.failed)
	}
}
