package executor

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"
	"weak"
)

// registry holds every executor of the program, and keeps none alive.
var registry struct {
	mu   sync.Mutex
	last int
	all  map[int]func() dumpable // returns nil if it was collected
}

// dumpable is an executor as Dump sees it.
type dumpable interface {
	taskLists() []*taskList
	String() string
}

// register makes ex known to Dump.
func register[E any, P interface {
	*E
	dumpable
}](ex P) {
	w := weak.Make((*E)(ex))
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if registry.all == nil {
		registry.all = make(map[int]func() dumpable)
	}
	registry.last++
	registry.all[registry.last] = func() dumpable {
		if ex := w.Value(); ex != nil {
			return P(ex)
		}
		return nil
	}
	runtime.AddCleanup((*E)(ex), func(n int) {
		registry.mu.Lock()
		defer registry.mu.Unlock()
		delete(registry.all, n)
	}, registry.last)
}

// Dump writes a line for each executor and Local that has tasks, and one for each task that has
// not ended: its number and where it was spawned; whether it is asleep, queued, being polled or
// about to end; how often it was polled; how long ago a wake queued it; and how many clones of
// its waker live in Go, and whether C has some.
//
// For tasks that were spawned before [Diagnose], and without FFIWAKERDEBUG=tasks=1 in the
// environment, only the state is known. Tasks may run meanwhile, so the lines are not of one
// moment. Dump returns w's first error.
func Dump(w io.Writer) error {
	registry.mu.Lock()
	all := registry.all
	order := make([]int, 0, len(all))
	for n := range all {
		order = append(order, n)
	}
	slices.Sort(order)
	var live []dumpable
	for _, n := range order {
		if ex := all[n](); ex != nil {
			live = append(live, ex)
		}
	}
	registry.mu.Unlock()
	for _, ex := range live {
		if err := dump(w, ex); err != nil {
			return err
		}
	}
	return nil
}

func dump(w io.Writer, ex dumpable) error {
	var tasks []*task
	lists := ex.taskLists()
	for _, h := range lists {
		tasks = h.alive(tasks)
	}
	if len(tasks) == 0 {
		return nil
	}
	polled := polledOf(lists)
	hint := ""
	if slices.ContainsFunc(tasks, func(t *task) bool { return t.diag() == nil }) {
		hint = " (where they were spawned, and more, is known with FFIWAKERDEBUG=tasks=1)"
	}
	if _, err := fmt.Fprintf(w, "%v: tasks %d%s\n", ex, len(tasks), hint); err != nil {
		return err
	}
	for _, t := range tasks {
		if _, err := fmt.Fprintln(w, "  "+t.describe(polled[t])); err != nil {
			return err
		}
	}
	return nil
}

func (t *task) describe(polled bool) string {
	state := "queued"
	switch {
	case t.endReason() != nil:
		state = "about to end"
	case t.core.Asleep():
		state = "asleep"
	case polled:
		state = "being polled"
	}
	d := t.diag()
	if d == nil {
		return "a task: " + state
	}
	woken := "never woken"
	if at := d.wokenAt.Load(); at != 0 {
		woken = fmt.Sprintf("woken %v ago", time.Duration(sinceStart()-at).Round(time.Microsecond))
	}
	wakers := fmt.Sprintf("wakers %d", d.clones.Load())
	if t.core.Lent() {
		wakers += " and C's"
	}
	return fmt.Sprintf("%s %s, polls %d, %s, %s", d, state, d.polls.Load(), woken, wakers)
}

func (ex *Executor) taskLists() (all []*taskList) {
	for i := range ex.workers {
		all = append(all, &ex.workers[i].taskList)
	}
	return all
}

// String returns how many workers there are, and how many are awake.
func (ex *Executor) String() string {
	awake := awakeOf(ex.idle.Load())
	return fmt.Sprintf("Executor %p, %d of %d workers awake", ex, awake, len(ex.workers))
}

func (l *Local) taskLists() []*taskList { return []*taskList{&l.taskList} }

// String names l.
func (l *Local) String() string { return fmt.Sprintf("Local %p", l) }
