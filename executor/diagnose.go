package executor

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strings"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
)

// taskExtra is what only few tasks have: a scope, or a diagnosis.
type taskExtra struct {
	scope *Scope
	diag  *diagnosis
}

// diagnosing: new tasks are diagnosed.
var diagnosing atomic.Bool

func init() {
	if wake.Debug("tasks") == "1" || wake.Tracing() {
		Diagnose(true)
	}
}

// Diagnose turns diagnosis on or off for tasks that are spawned from now on, in any executor.
//
// A diagnosed task records where it was spawned and counts its polls, and profiles show it under
// the label "task". A line on standard error names each task that nothing can wake any more, and
// each that holds its worker for over 100 ms. FFIWAKERDEBUG=tasks=1 in the environment turns it
// on from the start. It costs some hundred bytes for each task and some hundred nanoseconds for
// each poll.
func Diagnose(on bool) { diagnosing.Store(on) }

// diagnosis is what is recorded of a diagnosed task.
type diagnosis struct {
	number uint64
	site   string // where it was spawned
	labels context.Context

	clones       atomic.Int64 // wakers of it that live in Go
	polls        atomic.Uint64
	wokenAt      atomic.Int64 // when a wake last queued it: see sinceStart; 0: never
	polledAt     atomic.Int64 // when its latest poll began
	lostReported atomic.Bool  // it was reported
	blockedPoll  atomic.Uint64
}

var (
	lastNumber   atomic.Uint64
	programStart = time.Now()
)

func sinceStart() int64 { return int64(time.Since(programStart)) + 1 }

// diagnose gives t a diagnosis, if that is on. No other goroutine has t yet.
func (t *task) diagnose(f any) {
	if !diagnosing.Load() {
		return
	}
	site := ""
	if s, ok := f.(wake.Sited); ok {
		site = s.SpawnSite()
	}
	if site == "" {
		site = spawnSite()
	}
	d := &diagnosis{number: lastNumber.Add(1), site: site}
	d.labels = pprof.WithLabels(context.Background(), pprof.Labels("task", d.site))
	t.extend().diag = d
	if wake.Tracing() {
		t.core.Made("task", d.site)
	}
	wake.Rawwaker.Diagnose(&t.cx)
}

func (t *task) extend() *taskExtra {
	if t.extra == nil {
		t.extra = new(taskExtra)
	}
	return t.extra
}

func (t *task) diag() *diagnosis {
	if t.extra == nil {
		return nil
	}
	return t.extra.diag
}

// spawnSite is the first line outside this package.
func spawnSite() string {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, another := frames.Next()
		if !strings.Contains(f.Function, "/ffiwaker/executor.") {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !another {
			return "somewhere"
		}
	}
}

func (t *task) count(n int) {
	if d := t.diag(); d != nil {
		d.clones.Add(int64(n))
	}
}

// pollTraced polls in a trace region, and under a profile label.
func (t *task) pollTraced() (ready bool) {
	ctx, name := context.Background(), "poll"
	if d := t.diag(); d != nil {
		d.polls.Add(1)
		d.polledAt.Store(sinceStart())
		ctx, name = d.labels, "poll of the task spawned at "+d.site
		defer wake.KeepLabels()() // the goroutine may be a host's
		pprof.SetGoroutineLabels(ctx)
	}
	defer trace.StartRegion(ctx, name).End()
	if wake.Tracing() {
		return wake.TracePoll(t.core.Trace, func() bool { return t.body().poll(&t.cx) })
	}
	return t.body().poll(&t.cx)
}

// reportLost reports a task that has gone to sleep after that many polls and that nothing can
// wake. Another goroutine may wake and run it meanwhile; then it is awake, or was polled once
// more, which is checked last.
func (t *task) reportLost(polls uint64) {
	d := t.diag()
	if d == nil || d.clones.Load() > 0 || t.core.Lent() || t.state.Load()&(ending|done) != 0 {
		return
	}
	if t.core.Asleep() && d.polls.Load() == polls && !d.lostReported.Swap(true) {
		report("%s returned Pending, no clone of its waker lives and no wake has come: "+
			"nothing can wake it", d)
	}
}

// reportBlocked reports, once, that the poll that holds w takes long. mu is held.
func (w *worker) reportBlocked(to []string) []string {
	t := w.polling
	if t == nil || t.diag() == nil || t.state.Load()&done != 0 {
		return to
	}
	d := t.diag()
	in := time.Duration(sinceStart() - d.polledAt.Load())
	if in > blockedAfter && d.blockedPoll.Swap(w.polls) != w.polls {
		to = append(to, fmt.Sprintf("%s holds its worker for %v", d, in.Round(time.Millisecond)))
	}
	return to
}

const blockedAfter = 100 * time.Millisecond

func (d *diagnosis) String() string {
	return fmt.Sprintf("task %d, spawned at %s,", d.number, d.site)
}

// report writes a line of the watchdog.
func report(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "executor: "+format+"\n", args...)
}

// firstLine leaves out a panic's stack.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
