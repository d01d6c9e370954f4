package future_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func poll[T any](f rawwaker.Future[T]) rawwaker.Poll[T] {
	return f.Poll(rawwaker.NewContext(rawwaker.Noop()))
}

func drop[T any](f rawwaker.Future[T]) { f.(rawwaker.Dropper).Drop() }

// polled counts the polls of f.
type polled[T any] struct {
	f rawwaker.Future[T]
	n int
}

func (p *polled[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[T] {
	p.n++
	return p.f.Poll(cx)
}

// gate is pending until it is opened. It logs p for each poll and d for a drop.
type gate struct {
	log   *letters
	open  atomic.Bool
	waker future.AtomicWaker
}

func (g *gate) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	g.log.add("p")
	g.waker.Register(cx.Waker())
	if g.open.Load() {
		g.waker.Drop()
		return rawwaker.Ready(7)
	}
	return rawwaker.Pending[int]()
}

func (g *gate) Open() {
	g.open.Store(true)
	g.waker.Wake()
}

func (g *gate) Drop() {
	g.log.add("d")
	g.waker.Drop()
}

// letters logs the order of events, one letter each.
type letters struct {
	mu sync.Mutex
	s  string
}

func (l *letters) add(s string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.s += s
}

func (l *letters) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.s
}

// leaf is pending until it is lit; it counts what is done to it.
type leaf struct {
	waker        future.AtomicWaker
	mu           sync.Mutex
	lit          bool
	polls, drops int
}

func (l *leaf) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	l.waker.Register(cx.Waker())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.polls++
	if l.lit {
		return rawwaker.Ready(l.polls)
	}
	return rawwaker.Pending[int]()
}

func (l *leaf) Drop() { l.drops++; l.waker.Drop() }

func (l *leaf) light() {
	l.mu.Lock()
	l.lit = true
	l.mu.Unlock()
	l.waker.Wake()
}

func leaves(n int) (ls []*leaf, fs []rawwaker.Future[int]) {
	for range n {
		l := new(leaf)
		ls, fs = append(ls, l), append(fs, l)
	}
	return ls, fs
}

// step is a waker that counts its wakes.
type step struct{ wakes atomic.Int32 }

func (s *step) Wake() { s.wakes.Add(1) }

func (s *step) context() *rawwaker.Context { return rawwaker.NewContext(rawwaker.FromWake(s)) }

// endings are the ways in which a Poll or Drop ends.
var endings = map[string]func(){
	"returns": func() {}, "panics": func() { panic("boom") }, "calls Goexit": runtime.Goexit,
}

// faulted is a leaf whose Poll, while it is not lit, ends with poll, and whose Drop ends with drop.
type faulted struct {
	leaf
	poll, drop func()
}

func (f *faulted) Poll(cx *rawwaker.Context) rawwaker.Poll[int] {
	p := f.leaf.Poll(cx)
	if !p.IsReady() {
		f.poll()
	}
	return p
}

func (f *faulted) Drop() { f.leaf.Drop(); f.drop() }

// unit is f without its result.
func unit[T any](f rawwaker.Future[T]) rawwaker.Future[struct{}] {
	return future.Map(f, func(T) struct{} { return struct{}{} })
}

func signal() chan struct{} { return make(chan struct{}) }

// signalled closes first when its first poll has returned.
type signalled struct {
	rawwaker.Future[struct{}]
	first chan struct{}
	once  bool
}

func (s *signalled) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	p := s.Future.Poll(cx)
	if !s.once {
		s.once = true
		close(s.first)
	}
	return p
}

// othersAreWoken has good waiters between ones whose wakers panic, exit, or block until all the
// good ones have been woken.
func othersAreWoken(t *testing.T, many func() (func() rawwaker.Future[struct{}], func())) {
	wait, event := many()
	through := signal()
	var good sync.WaitGroup
	var bad sync.WaitGroup
	for i := range 12 {
		do := []func(){func() { panic("the waker's own") }, runtime.Goexit, func() { <-through }}[i%3]
		bad.Add(1)
		wait().Poll(rawwaker.NewContext(rawwaker.FromFunc(func() { defer bad.Done(); do() })))
		var woken step
		f := wait()
		require.False(t, f.Poll(woken.context()).IsReady())
		polled := signal()
		good.Go(func() {
			blockon.BlockOn(&signalled{Future: wait(), first: polled})
		})
		<-polled
		good.Go(func() {
			for woken.wakes.Load() == 0 {
				runtime.Gosched()
			}
		})
	}
	ended := signal()
	go func() {
		defer close(ended)
		defer func() { _ = recover() }()
		event()
	}()
	good.Wait()
	close(through)
	bad.Wait()
	<-ended
}

// large is a value that sets freed when it is collected.
func large(freed *atomic.Bool) *[1 << 16]byte {
	v := new([1 << 16]byte)
	runtime.AddCleanup(v, func(int) { freed.Store(true) }, 0)
	return v
}

func isCollected(t *testing.T, freed *atomic.Bool) {
	t.Helper()
	for range 200 {
		if runtime.GC(); freed.Load() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Error("a value that was taken is kept")
}
