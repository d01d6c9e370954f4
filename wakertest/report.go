package wakertest

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a call may take, and how late a wake may come. Change it before a test begins.
var Patience = 10 * time.Second

// Rule is a scenario by name, and what it holds its subject to.
type Rule struct{ Name, Rule string }

// A scenario is run with a fresh report.
type scenario[S any] struct {
	name, rule string
	run        func(r *report, make func() S)
}

func rules[S any](all []scenario[S]) []Rule {
	var rs []Rule
	for _, s := range all {
		rs = append(rs, Rule{s.name, s.rule})
	}
	return rs
}

// The scenarios, in order.
func WakerRules() []Rule    { return rules(wakers) }
func FutureRules() []Rule   { return rules(futures[struct{}]()) }
func ExecutorRules() []Rule { return rules(executors) }

// report is what one scenario has done. What it writes is ordered by nothing but its own lock, which each note takes on every
// goroutine: so notes are made before a call and not between a wake and its poll where a scenario is about publishing.
type report struct {
	mu      sync.Mutex
	events  []string
	why     string
	skipped string
}

const most = 64

func (r *report) did(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == most {
		copy(r.events, r.events[1:])
		r.events = r.events[:most-1]
	}
	r.events = append(r.events, fmt.Sprintf(format, args...))
}

// expect returns ok, and keeps the first that is not.
func (r *report) expect(ok bool, format string, args ...any) bool {
	if ok {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == "" {
		r.why = fmt.Sprintf(format, args...)
	}
	return false
}

// noPanic is deferred by every goroutine of the kit's.
func (r *report) noPanic() {
	if v := recover(); v != nil {
		r.expect(false, "no panic; %v", v)
	}
}

func (r *report) failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why != ""
}

func (r *report) skip(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skipped = why
}

// comes waits until ok.
func (r *report) comes(ok func() bool, expected func() string) bool {
	for end := time.Now().Add(Patience / 2); ; time.Sleep(20 * time.Microsecond) {
		if ok() {
			return true
		}
		if time.Now().After(end) {
			return r.expect(false, "%s", expected())
		}
	}
}

// reaches waits until count has reached n.
func (r *report) reaches(count func() int, n int, of, when string) bool {
	return r.comes(func() bool { return count() >= n }, func() string {
		return fmt.Sprintf("at least %d %s %s; there were %d", n, of, when, count())
	})
}

// runAll runs each scenario as a subtest, on a goroutine that is given up where it does not end.
func runAll[S any](t *testing.T, all []scenario[S], make func(t testing.TB) S) {
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			r := new(report)
			done := newGate()
			go func() {
				defer done.open()
				defer r.noPanic()
				s.run(r, func() S {
					r.did("make")
					return make(t)
				})
			}()
			if !done.within(Patience) {
				r.expect(false, "every call to return; the latest did not")
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			switch {
			case r.why != "":
				t.Errorf("the rule: %s\nexpected: %s\nin order: %s", s.rule, r.why, strings.Join(r.events, "; "))
			case r.skipped != "":
				t.Skip(r.skipped)
			}
		})
	}
}

// gate is opened once.
type gate struct {
	ch   chan struct{}
	once sync.Once
}

func newGate() *gate  { return &gate{ch: make(chan struct{})} }
func (g *gate) open() { g.once.Do(func() { close(g.ch) }) }
func (g *gate) wait() { <-g.ch }
func (g *gate) within(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-g.ch:
		return true
	case <-timer.C:
		return false
	}
}

// flag tells when, and orders nothing: the race detector sees neither side, so a scenario about what a wake publishes does not
// publish it itself. The hardware does order it, and may.
type flag struct{ n int32 }

//go:norace
//go:noinline
func (f *flag) raise() { f.n++ }

//go:norace
//go:noinline
func (f *flag) raised() int32 { return f.n }

// await waits until it was raised n times.
func (f *flag) await(n int32) {
	for f.raised() < n {
		runtime.Gosched()
	}
}

// moment is for a wake that should not come, and may come late.
func moment() { time.Sleep(5 * time.Millisecond) }
