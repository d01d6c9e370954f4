package wakertest

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Executor is an executor under test. Close may be nil.
type Executor struct {
	// Spawn takes ownership of f. It is called before Run, and inside polls if SpawnInside is true.
	Spawn func(f rawwaker.Future[struct{}])
	// Run returns when every task has completed.
	Run func()
	// Close drops the remaining futures and ends the executor. It is the last call. If it is nil,
	// the kit leaves no future behind.
	Close func()
	// SpawnInside is true if Spawn may be called inside a poll.
	SpawnInside bool
}

// TestExecutor checks the executors that make returns against every rule, each in a subtest. It
// calls make at least once for each.
func TestExecutor(t *testing.T, make func(t testing.TB) Executor) {
	runAll(t, executors, make)
}

// task is a future of the kit, which records what the executor does with it.
type task struct {
	r      *report
	step   func(cx *rawwaker.Context, poll int) (ready bool) // poll counts from 1
	polls  atomic.Int32
	drops  atomic.Int32
	inside atomic.Bool
	ready  atomic.Bool
}

func (t *task) Poll(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
	t.r.expect(!t.inside.Swap(true), "one poll of a future at a time")
	t.r.expect(!t.ready.Load(), "no poll after Ready")
	t.r.expect(t.drops.Load() == 0, "no poll after Drop")
	ready := t.step(cx, int(t.polls.Add(1)))
	if ready {
		t.ready.Store(true)
	}
	t.inside.Store(false)
	if ready {
		return rawwaker.Ready(struct{}{})
	}
	return rawwaker.Pending[struct{}]()
}

// Drop implements [rawwaker.Dropper]. In Go, a future that was Ready is not dropped.
func (t *task) Drop() {
	t.r.did("drop")
	t.r.expect(!t.inside.Load(), "no Drop during a poll")
	t.r.expect(!t.ready.Load(), "no Drop after Ready")
	t.r.expect(t.drops.Add(1) == 1, "one Drop of each future")
}

type runner struct {
	Executor
	r *report
}

func (x *runner) spawn(step func(cx *rawwaker.Context, poll int) bool) *task {
	x.r.did("spawn")
	t := &task{r: x.r, step: step}
	x.Spawn(t)
	return t
}

func (x *runner) run(tasks ...*task) {
	x.r.did("run")
	x.Run()
	x.r.did("run has returned")
	for i, t := range tasks {
		x.r.expect(t.ready.Load(), "every task to be complete when Run returns; task %d is not", i)
	}
}

func (x *runner) close() {
	if x.Close != nil {
		x.r.did("close")
		x.Close()
	}
}

// yields wakes itself ten times.
func yields(cx *rawwaker.Context, poll int) bool {
	if poll > 10 {
		return true
	}
	cx.Waker().WakeByRef()
	if poll%2 == 0 {
		cx.Waker().Clone().Wake()
	}
	return false
}

func readyAtOnce(*rawwaker.Context, int) bool { return true }

var executors = []scenario[Executor]{
	{"polls_every_task",
		"each task is polled, and after READY it is dropped once and polled no more",
		func(r *report, make func() Executor) {
			x := &runner{make(), r}
			var all []*task
			for range 50 {
				all = append(all, x.spawn(readyAtOnce))
			}
			x.run(all...)
			x.close()
		}},

	{"wake_inside_the_poll",
		"a wake during the poll leads to another poll, afterwards",
		func(r *report, make func() Executor) {
			x := &runner{make(), r}
			var all []*task
			for range 5 {
				all = append(all, x.spawn(yields))
			}
			x.run(all...)
			x.close()
		}},

	{"wake_from_another_thread",
		"a wake on any thread leads to a poll, and the wake itself never polls",
		func(r *report, make func() Executor) {
			x := &runner{make(), r}
			var all []*task
			var wakers sync.WaitGroup
			for range 20 {
				all = append(all, x.spawn(func(cx *rawwaker.Context, poll int) bool {
					if poll > 1 {
						r.expect(!under("wakeFromHere"), "no poll inside a wake")
						return true
					}
					w := cx.Waker().Clone()
					wakers.Go(func() { wakeFromHere(w) })
					return false
				}))
			}
			x.run(all...)
			wakers.Wait()
			x.close()
		}},

	{"poll_sees_what_wakes_publish",
		"what was written before a wake is visible to the poll that follows, " +
			"even if the task was woken already",
		func(r *report, make func() Executor) {
			for range 20 {
				x := &runner{make(), r}
				var words [2]int
				var woken flag
				var wakers sync.WaitGroup
				t := x.spawn(func(cx *rawwaker.Context, poll int) bool {
					if poll > 1 {
						r.expect(words == [2]int{42, 42},
							"the poll to see what was written before each wake; it sees %v", words)
						return true
					}
					for i := range words {
						w := cx.Waker().Clone()
						wakers.Go(func() {
							words[i] = 42
							w.Wake()
							woken.raise()
						})
						woken.await(int32(i + 1)) // the second finds the task woken
					}
					return false
				})
				x.run(t)
				wakers.Wait()
				x.close()
			}
		}},

	{"waker_outlives_its_task",
		"wakers may outlive their task, and their executor",
		func(r *report, make func() Executor) {
			x := &runner{make(), r}
			var kept [3]*rawwaker.Waker
			var all []*task
			for i := range kept {
				all = append(all, x.spawn(func(cx *rawwaker.Context, poll int) bool {
					if poll == 1 {
						kept[i] = cx.Waker().Clone()
						cx.Waker().WakeByRef()
					}
					return poll > 1
				}))
			}
			x.run(all...)
			for range 3 {
				all = append(all, x.spawn(yields))
			}
			r.did("wakes of completed tasks")
			kept[0].WakeByRef()
			kept[0].Clone().Wake()
			kept[1].Wake()
			x.run(all...)
			kept[0].Wake()
			x.close()
			kept[2].Drop()
		}},

	{"close_drops_the_rest",
		"an executor that ends drops each remaining future once",
		func(r *report, make func() Executor) {
			x := &runner{make(), r}
			if x.Close == nil {
				r.skip("no Close")
				return
			}
			var mu sync.Mutex
			var kept []*rawwaker.Waker
			var all []*task
			for range 10 {
				all = append(all, x.spawn(func(cx *rawwaker.Context, poll int) bool {
					mu.Lock()
					defer mu.Unlock()
					kept = append(kept, cx.Waker().Clone())
					return false
				}))
			}
			x.close()
			for i, t := range all {
				drops := func() int { return int(t.drops.Load()) }
				r.reaches(drops, 1, "drops", "of each remaining future by Close")
				r.expect(drops() == 1,
					"Close to drop each remaining future once; task %d was dropped %d times", i, drops())
			}
			mu.Lock()
			defer mu.Unlock()
			r.did("wakes of dropped tasks")
			for _, w := range kept {
				w.WakeByRef()
				w.Drop()
			}
		}},

	{"spawn_inside_a_poll",
		"a task may spawn another",
		func(r *report, make func() Executor) {
			x := &runner{make(), r}
			if !x.SpawnInside {
				r.skip("Spawn is not for polls")
				x.close()
				return
			}
			var done atomic.Int32
			var next func(left int) func(*rawwaker.Context, int) bool
			next = func(left int) func(*rawwaker.Context, int) bool {
				return func(*rawwaker.Context, int) bool {
					if left > 0 {
						x.spawn(next(left - 1))
					}
					done.Add(1)
					return true
				}
			}
			x.spawn(next(5))
			x.run()
			r.expect(done.Load() == 6,
				"six tasks, each spawned by the one before, to be complete; %d are", done.Load())
			x.close()
		}},

	{"executor_storm",
		"no wake is lost, and no two polls of one future overlap, whatever many threads do",
		func(r *report, make func() Executor) {
			const count, wanted = 64, 50
			x := &runner{make(), r}
			var kept [count]atomic.Pointer[rawwaker.Waker]
			var left atomic.Int32
			left.Store(count)
			var all []*task
			for i := range count {
				all = append(all, x.spawn(func(cx *rawwaker.Context, poll int) bool {
					var fresh *rawwaker.Waker
					if poll <= wanted {
						fresh = cx.Waker().Clone()
					}
					if old := kept[i].Swap(fresh); old != nil {
						old.Drop()
					}
					if poll > wanted {
						left.Add(-1)
					}
					return poll > wanted
				}))
			}
			var wakers sync.WaitGroup
			r.did("4 goroutines wake 64 tasks until each was polled 51 times")
			for n := range 4 {
				wakers.Go(func() {
					random := rand.New(rand.NewPCG(uint64(n), 2))
					for left.Load() > 0 && !r.failed() {
						// It is the only waker of that poll: if the wake is lost, the storm never ends.
						if w := kept[random.IntN(count)].Swap(nil); w != nil {
							w.Wake()
						} else {
							runtime.Gosched()
						}
					}
				})
			}
			x.run(all...)
			wakers.Wait()
			x.close()
		}},
}

//go:noinline
func wakeFromHere(w *rawwaker.Waker) { w.Wake() }

// under returns whether a function of that name is among the callers.
func under(name string) bool {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, "."+name) {
			return true
		}
		if !more {
			return false
		}
	}
}
