package broken

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// InGo returns the entries written in Go.
func InGo() []Entry {
	var all []Entry
	for _, e := range append(goEntries, streamEntries...) {
		e.Go = true
		all = append(all, e)
	}
	return all
}

// GoWaker returns a new waker of an entry of InGo.
func GoWaker(e Entry) wakertest.Waker { return newTask(e.Name).subject() }

// GoFuture returns a new future of an entry of InGo.
func GoFuture(e Entry) wakertest.Future[uint64] { return newOperation(e.Name).subject() }

// GoExecutor returns a new executor of an entry of InGo.
func GoExecutor(e Entry) wakertest.Executor { return newExecutor(e.Name).subject() }

var goEntries = []Entry{
	{Name: "sound_go_waker", Kind: "waker", Does: "keeps every rule"},
	{Name: "go_wake_does_nothing", Kind: "waker", Kit: "wake_after_the_poll",
		Does: "every second wake does nothing"},
	{Name: "go_flag_is_never_cleared", Kind: "waker", Kit: "wakes_coalesce",
		Does: "the poll does not clear the notification"},
	{Name: "go_lock_is_held_over_the_poll", Kind: "waker", Kit: "slots_under_a_lock",
		Does: "wake takes the lock that is held during a poll"},
	{Name: "go_wakes_the_dead", Kind: "waker", Kit: "wake_after_the_end",
		Does: "a wake after the task's end schedules it"},
	{Name: "go_second_wake_only_looks", Kind: "waker", Kit: "wakes_publish", Detector: true,
		Does: "a wake that finds the task woken only loads the flag, which is not atomic"},

	{Name: "sound_go_future", Kind: "future", Does: "keeps every rule"},
	{Name: "go_keeps_no_waker", Kind: "future", Kit: "pending_keeps_a_waker",
		Does: "returns Pending and keeps no waker"},
	{Name: "go_drops_the_borrowed_waker", Kind: "future", Kit: "context_is_borrowed",
		Does: "drops the context's waker"},
	{Name: "go_never_wakes", Kind: "future", Kit: "wakes_when_it_can_go_on",
		Does: "does not wake when it can continue"},
	{Name: "go_keeps_the_first_waker", Kind: "future", Kit: "latest_waker_is_woken",
		Does: "keeps the waker of its first poll permanently"},
	{Name: "go_keeps_its_waker_over_drop", Kind: "future", Kit: "drop_while_pending",
		Does: "Drop while pending does not drop the waker"},
	{Name: "go_leaks_if_never_polled", Kind: "future", Kit: "drop_before_the_poll",
		Does: "Drop before the first poll releases nothing"},
	{Name: "go_leaks_after_ready", Kind: "future", Kit: "drop_after_ready",
		Does: "releases nothing when it is ready"},
	{Name: "go_wakes_under_its_lock", Kind: "future", Kit: "wakes_under_no_lock",
		Does: "wakes while it holds its lock"},
	{Name: "go_wakes_before_its_condition", Kind: "future", Kit: "set_before_wake",
		Does: "wakes before it sets the condition"},
	{Name: "go_drop_races_with_wake", Kind: "future", Kit: "drop_beside_the_wake",
		Does: "the completing side wakes a waker that Drop may have dropped"},

	{Name: "sound_go_executor", Kind: "executor", Does: "keeps every rule"},
	{Name: "go_forgets_a_task", Kind: "executor", Kit: "polls_every_task",
		Does: "every seventh task is never polled"},
	{Name: "go_polls_after_ready", Kind: "executor", Kit: "polls_every_task",
		Does: "polls once more after Ready"},
	{Name: "go_loses_a_wake_during_the_poll", Kind: "executor", Kit: "wake_inside_the_poll",
		Does: "clears the notification after the poll"},
	{Name: "go_polls_inside_wake", Kind: "executor", Kit: "wake_from_another_thread",
		Does: "wake polls the task itself"},
	{Name: "go_wake_is_not_published", Kind: "executor", Kit: "poll_sees_what_wakes_publish",
		Detector: true,
		Does:     "a wake that finds the task woken only loads the flag, which is not atomic"},
	{Name: "go_close_leaves_tasks", Kind: "executor", Kit: "close_drops_the_rest",
		Does: "Close drops no future"},
	{Name: "go_drops_after_ready", Kind: "executor", Kit: "polls_every_task",
		Does: "drops futures that were ready"},
}

// word is a flag, 0 or 1. If published is false, a wake that finds the flag set does not publish
// the writes before it: the race detector does not see the accesses of plain.
type word struct {
	n         atomic.Int32
	mu        sync.Mutex
	plain     int32
	published bool
}

// set returns what it was.
func (w *word) set() int32 {
	if w.published {
		return w.n.Swap(1)
	}
	if peek(&w.plain) == 1 {
		return 1
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	was := peek(&w.plain)
	poke(&w.plain, 1)
	return was
}

func (w *word) clear() int32 {
	if w.published {
		return w.n.Swap(0)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	was := peek(&w.plain)
	poke(&w.plain, 0)
	return was
}

// peek and poke hide the word from the race detector, which must report what the wake does not
// publish, and not the word.
//
//go:norace
//go:noinline
func peek(p *int32) int32 { return *p }

//go:norace
//go:noinline
func poke(p *int32, n int32) { *p = n }

// ---- a waker

type goTask struct {
	name  string
	word  word
	calls atomic.Int64
	wakes atomic.Int64
	ended atomic.Bool
	mu    sync.Mutex
	hook  atomic.Pointer[func()]
}

func newTask(name string) *goTask {
	t := &goTask{name: name}
	t.word.published = name != "go_second_wake_only_looks"
	return t
}

func (t *goTask) wake() {
	if t.name == "go_wake_does_nothing" && t.calls.Add(1)%2 == 0 {
		return
	}
	if t.name == "go_lock_is_held_over_the_poll" {
		t.mu.Lock()
		defer t.mu.Unlock()
	}
	if t.ended.Load() && t.name != "go_wakes_the_dead" {
		return
	}
	if t.word.set() == 1 {
		return
	}
	t.wakes.Add(1)
	if f := t.hook.Load(); f != nil {
		(*f)()
	}
}

func (t *goTask) subject() wakertest.Waker {
	return wakertest.Waker{
		Handle: rawwaker.FromFunc(t.wake),
		Wakes:  func() int { return int(t.wakes.Load()) },
		Poll: func(during func()) {
			if t.name != "go_flag_is_never_cleared" {
				t.word.clear()
			}
			if t.name == "go_lock_is_held_over_the_poll" && during != nil {
				during = func(f func()) func() {
					return func() {
						t.mu.Lock()
						defer t.mu.Unlock()
						f()
					}
				}(during)
			}
			if during != nil {
				during()
			}
		},
		OnWake: func(f func()) {
			if f == nil {
				t.hook.Store(nil)
			} else {
				t.hook.Store(&f)
			}
		},
		End: func() { t.ended.Store(true) },
	}
}

// ---- a future

type operation struct {
	name  string
	mu    sync.Mutex
	kept  *rawwaker.Waker
	polls int
	done  bool
	ended bool
	live  atomic.Int64
}

func newOperation(name string) *operation {
	o := &operation{name: name}
	o.live.Store(1)
	return o
}

func (o *operation) Poll(cx *rawwaker.Context) rawwaker.Poll[uint64] {
	if o.name == "go_drops_the_borrowed_waker" {
		cx.Waker().Drop()
	}
	var fresh *rawwaker.Waker
	if o.name != "go_keeps_no_waker" {
		fresh = cx.Waker().Clone()
	}
	o.mu.Lock()
	o.polls++
	old, done := o.kept, o.done
	switch {
	case done:
		o.kept, o.ended = nil, true
	case old != nil && o.name == "go_keeps_the_first_waker":
		old = nil
	default:
		o.kept, fresh = fresh, nil
	}
	o.mu.Unlock()
	if fresh != nil {
		fresh.Drop()
	}
	if old != nil {
		old.Drop()
	}
	if !done {
		return rawwaker.Pending[uint64]()
	}
	if o.name != "go_leaks_after_ready" {
		o.live.Store(0)
	}
	return rawwaker.Ready[uint64](42)
}

func (o *operation) Drop() {
	o.mu.Lock()
	old := o.kept
	if o.name != "go_drop_races_with_wake" {
		o.kept = nil
	}
	o.ended = true
	polls := o.polls
	o.mu.Unlock()
	if old != nil && o.name != "go_keeps_its_waker_over_drop" {
		old.Drop()
	}
	if polls > 0 || o.name != "go_leaks_if_never_polled" {
		o.live.Store(0)
	}
}

// wakeThenSet wakes, sets the condition, then wakes the same waker again: a task that always polls
// with the same waker loses no wake. A poll with another waker between the wake and the condition
// is lost.
func (o *operation) wakeThenSet() {
	o.mu.Lock()
	w := o.kept
	o.kept = nil
	o.mu.Unlock()
	if w != nil {
		w.WakeByRef()
	}
	o.mu.Lock()
	o.done = true
	o.mu.Unlock()
	if w != nil {
		w.Wake()
	}
}

// waitFor returns ok() as soon as it is true, or after d.
func waitFor(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); !ok(); time.Sleep(50 * time.Microsecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

func (o *operation) complete() {
	if o.name == "go_wakes_before_its_condition" {
		o.wakeThenSet()
		return
	}
	o.mu.Lock()
	o.done = true
	w := o.kept
	if o.name == "go_wakes_under_its_lock" {
		defer o.mu.Unlock()
		if o.kept = nil; w != nil {
			w.Wake()
		}
		return
	}
	if o.name != "go_drop_races_with_wake" && o.name != "go_never_wakes" {
		o.kept = nil
	}
	o.mu.Unlock()
	if w == nil || o.name == "go_never_wakes" {
		return
	}
	if o.name == "go_drop_races_with_wake" {
		// If there is a Drop: the wake comes after it in either order.
		waitFor(50*time.Millisecond, func() bool {
			o.mu.Lock()
			defer o.mu.Unlock()
			return o.ended
		})
		w.WakeByRef()
		return
	}
	w.Wake()
}

func (o *operation) subject() wakertest.Future[uint64] {
	live := func() int { return int(o.live.Load()) }
	return wakertest.Future[uint64]{Future: o, Complete: o.complete, Live: live}
}

// ---- an executor

type executor struct {
	name string

	mu      sync.Mutex
	changed *sync.Cond
	queue   []*spawned
	all     []*spawned
	left    int
}

type spawned struct {
	x         *executor
	f         rawwaker.Future[struct{}]
	n         int
	word      word
	completed atomic.Bool
	polling   atomic.Bool
}

func newExecutor(name string) *executor {
	x := &executor{name: name}
	x.changed = sync.NewCond(&x.mu)
	return x
}

func (x *executor) spawn(f rawwaker.Future[struct{}]) {
	s := &spawned{x: x, f: f}
	s.word.published = x.name != "go_wake_is_not_published"
	x.mu.Lock()
	s.n = len(x.all)
	x.all = append(x.all, s)
	x.left++
	x.mu.Unlock()
	s.enqueue()
}

// insideAPoll returns whether the caller was called by a poll of an executor.
func insideAPoll() bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "(*spawned).poll") {
			return true
		}
		if !more {
			return false
		}
	}
}

func (s *spawned) wake() {
	if s.completed.Load() {
		return
	}
	// A wake on another goroutine waits for the poll under way, unless that waits for the wake.
	if s.x.name == "go_polls_inside_wake" && !insideAPoll() &&
		waitFor(10*time.Millisecond, func() bool { return s.polling.CompareAndSwap(false, true) }) {
		s.poll()
		return
	}
	s.enqueue()
}

func (s *spawned) enqueue() {
	if s.word.set() == 1 {
		return
	}
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	s.x.queue = append(s.x.queue, s)
	s.x.changed.Broadcast()
}

func (s *spawned) poll() {
	if s.completed.Load() {
		return
	}
	s.polling.Store(true)
	cx := rawwaker.NewContext(rawwaker.FromFunc(s.wake))
	ready := s.f.Poll(cx).IsReady()
	if ready && s.x.name == "go_polls_after_ready" {
		s.f.Poll(cx)
	}
	s.polling.Store(false)
	if ready {
		if s.x.name == "go_drops_after_ready" {
			s.f.(rawwaker.Dropper).Drop()
		}
		s.finish()
	}
}

func (s *spawned) finish() {
	if s.completed.Swap(true) {
		return
	}
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	s.x.left--
	s.x.changed.Broadcast()
}

func (x *executor) run() {
	for {
		x.mu.Lock()
		for len(x.queue) == 0 && x.left > 0 {
			x.changed.Wait()
		}
		if len(x.queue) == 0 {
			x.mu.Unlock()
			return
		}
		s := x.queue[0]
		x.queue = x.queue[1:]
		x.mu.Unlock()
		switch {
		case x.name == "go_forgets_a_task" && s.n%7 == 6:
			s.finish()
		case x.name == "go_loses_a_wake_during_the_poll":
			s.poll()
			s.word.clear()
		default:
			s.word.clear()
			s.poll()
		}
	}
}

func (x *executor) close() {
	for _, s := range x.all {
		if !s.completed.Swap(true) && x.name != "go_close_leaves_tasks" {
			s.f.(rawwaker.Dropper).Drop()
		}
	}
}

func (x *executor) subject() wakertest.Executor {
	return wakertest.Executor{Spawn: x.spawn, Run: x.run, Close: x.close, SpawnInside: true}
}
