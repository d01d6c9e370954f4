package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// ---------------------------------------------------------------------------------- tasks

// result is what a task has ended with.
type result struct {
	set   atomic.Bool
	value atomic.Uint64
}

// newTask makes the tree of a task.
func (w *World) newTask(id, domain, inDomain int, tree func(e *Task) F) *Task {
	t := &Task{w: w, id: id, domain: domain, inDomain: inDomain, blocked: &atomic.Int32{}}
	if domain == 1 && inDomain == 1 && w.Forget {
		t.forgotten, t.loose = true, true
	}
	t.root = t.probe(tree(t), fmt.Sprintf("task %d", id))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tasks[id] = t
	return t
}

// alone runs a task on a goroutine of its own.
func (w *World) alone(t *Task, name string, run func(f F) (uint64, error)) {
	name = fmt.Sprintf("%s of task %d", name, t.id)
	t.ended = w.begin(name, func() {
		v, err := run(t.root)
		if err != nil {
			w.panicked(name, err)
			return
		}
		t.result.value.Store(v)
		t.result.set.Store(true)
	})
}

func (w *World) BlockOn(id int, tree func(e *Task) F) {
	w.alone(w.newTask(id, 0, 0, tree), "BlockOn", func(f F) (uint64, error) {
		return blockon.BlockOn(f), nil
	})
}

func (w *World) Await(id int, tree func(e *Task) F) {
	w.alone(w.newTask(id, 0, 0, tree), "Await", func(f F) (uint64, error) {
		return blockon.Await(w.ctx, f)
	})
}

// AwaitCancel has a cancel function that opens a leaf.
func (w *World) AwaitCancel(id int, acts []Act, tree func(e *Task) F) {
	t := w.newTask(id, 0, 0, tree)
	s := t.site("cancel", acts)
	w.alone(t, "AwaitCancel", func(f F) (uint64, error) {
		return blockon.AwaitCancel(w.ctx, f, func() { s.visit(0, nil) })
	})
}

func (w *World) Spin(id int, tree func(e *Task) F) {
	w.alone(w.newTask(id, 0, 0, tree), "Spin", func(f F) (uint64, error) {
		return blockon.Spin(f), nil
	})
}

// CHost has C poll the task: 0 and 1 rawwaker_block_on, here and on a C thread; 2 a loop of C; 3
// the same, with a new thread for each poll.
func (w *World) CHost(id, how int, tree func(e *Task) F) {
	w.alone(w.newTask(id, 0, 0, tree), "the C host", func(f F) (uint64, error) {
		code, v := cHost(f, how%4)
		switch code {
		case 0:
			return v, nil
		case 2:
			return 0, &rawwaker.ForeignPanic{Message: "fault"}
		}
		w.fail("C code", "a poll gave %d", code)
		return 0, nil
	})
}

// Manual polls with a function waker, which acts.
func (w *World) Manual(id int, acts []Act, tree func(e *Task) F) { w.manual(id, acts, tree, true) }

// Waiter is the same, but only the library's goroutines call the waker, so it delays no other task.
func (w *World) Waiter(id int, acts []Act, tree func(e *Task) F) { w.manual(id, acts, tree, false) }

func (w *World) manual(id int, acts []Act, tree func(e *Task) F, others bool) {
	t := w.newTask(id, 0, 0, tree)
	s := t.site("waker", acts)
	s.waker = others
	w.alone(t, "Manual", func(f F) (uint64, error) {
		bell := make(chan struct{}, 1)
		wake := func() {
			select {
			case bell <- struct{}{}:
			default:
			}
			s.visit(0, nil)
		}
		wk := rawwaker.FromFunc(wake)
		over := false
		defer func() {
			wk.Drop()
			if !over {
				drop(f)
			}
		}()
		for {
			p := f.Poll(rawwaker.NewContext(wk))
			if p.IsReady() {
				over = true
				return p.Value(), nil
			}
			<-bell
		}
	})
}

// Swap polls each time with a new waker, of C if there is C. An act may drop it during the poll.
func (w *World) Swap(id int, tree func(e *Task) F) {
	t := w.newTask(id, 0, 0, tree)
	w.alone(t, "Swap", func(f F) (uint64, error) {
		bell := make(chan struct{}, 1)
		wake := func() {
			select {
			case bell <- struct{}{}:
			default:
			}
		}
		over := false
		defer func() {
			if !over {
				drop(f)
			}
		}()
		for {
			p := t.swapPoll(f, wake)
			if p.IsReady() {
				over = true
				return p.Value(), nil
			}
			<-bell
		}
	})
}

func (t *Task) swapPoll(f F, wake func()) rawwaker.Poll[uint64] {
	wk := rawwaker.FromFunc(wake)
	if HasC {
		wk = rawwaker.FromRaw(wk.IntoRaw())
	}
	var once sync.Once
	t.dropWaker = func() { once.Do(wk.Drop) }
	defer t.dropWaker()
	return f.Poll(rawwaker.NewContext(wk))
}

func (w *World) Exec(id int, tree func(e *Task) F)  { w.spawnTask(id, 0, tree) }
func (w *World) Local(id int, tree func(e *Task) F) { w.spawnTask(id, 1, tree) }

func (w *World) spawnTask(id, on int, tree func(e *Task) F) {
	t := w.newTask(id, on, 1, tree)
	w.call("Spawn", func() { t.setHandle(w.spawn(on, t.root)) })
}

func (t *Task) setHandle(h *executor.JoinHandle[uint64]) {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	t.handle = h
}

func (w *World) scopeOf(n int) *executor.Scope {
	n %= 2
	var on executor.Spawner
	if n == 0 {
		on = w.executor()
	} else {
		on = w.localOf()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.scope[n] == nil {
		w.scope[n] = executor.NewScope(w.ctx, on)
	}
	return w.scope[n]
}

// Scoped spawns a task in the scope of the executor (0) or the Local (1).
func (w *World) Scoped(id, on int, tree func(e *Task) F) {
	on %= 2
	t := w.newTask(id, on, 1, tree)
	w.mu.Lock()
	t.scoped = true
	w.mu.Unlock()
	s := w.scopeOf(on)
	over := w.ctx.Err() != nil
	w.call("SpawnIn", func() { t.setHandle(executor.SpawnIn(s, t.root)) })
	t.unpolled = over
}

// Detached spawns a task without a handle.
func (w *World) Detached(id, on int, tree func(e *Task) F) {
	on %= 2
	t := w.newTask(id, on, 1, tree)
	f := future.Map[uint64](t.root, func(uint64) struct{} { return struct{}{} })
	w.call("Detach", func() {
		if on == 0 {
			executor.Detach(w.executor(), f)
		} else {
			executor.DetachLocal(w.localOf(), f)
		}
	})
}

// RunUntil is the Local's first host, until the task has ended.
func (w *World) RunUntil(id int, tree func(e *Task) F) {
	if w.Forget || w.Host == "waker" {
		w.Local(id, tree)
		return
	}
	t := w.newTask(id, 1, 1, tree)
	l := w.localOf()
	w.mu.Lock()
	first := w.ticker == nil
	w.mu.Unlock()
	if !first {
		w.call("Spawn", func() { t.setHandle(w.spawn(1, t.root)) })
		return
	}
	w.alone(t, "RunUntil", func(f F) (uint64, error) { return executor.RunUntil(l, f), nil })
	w.mu.Lock()
	w.ticker = t.ended
	w.mu.Unlock()
}

// ---------------------------------------------------------------------------------- steps

// Open makes the leaf ready and wakes it, Wake only wakes it.
func (w *World) Open(id, how int) { w.call("Open", func() { w.wakeLeaf(id, how, true) }) }
func (w *World) Wake(id, how int) { w.call("Wake", func() { w.wakeLeaf(id, how, false) }) }

// Gate opens gate n: the user code that blocks there continues.
func (w *World) Gate(n int) {
	n %= len(w.gates)
	if !w.gateOpen[n] {
		w.gateOpen[n] = true
		close(w.gates[n])
	}
}

func (w *World) Abort(id int) {
	if h := w.handleOf(id); h != nil {
		w.cancelled.Store(true)
		w.call("Abort", h.Abort)
	}
}

// DropHandle drops the handle of a task, which continues.
func (w *World) DropHandle(id int) {
	t, h := w.task(id), w.handleOf(id)
	if h == nil || !t.taken.CompareAndSwap(false, true) {
		return
	}
	w.call("JoinHandle.Drop", func() {
		defer t.taken.Store(false) // meanwhile no node may poll it
		h.Drop()
	})
}

func (w *World) Cancel() {
	w.cancelled.Store(true)
	w.call("cancel", w.cancel)
}

func (w *World) AbortScope(n int) {
	w.cancelled.Store(true)
	w.call("Scope.Abort", w.scopeOf(n).Abort)
}

func (w *World) CloseExecutor() {
	w.cancelled.Store(true)
	w.call("Executor.Close", w.closeExecutor)
}

func (w *World) closeExecutor() {
	w.executor().Close()
	w.closed(0)
}

// closed checks what a Close outside of tasks promises when it returns.
func (w *World) closed(on int) {
	if n := w.dropping[on].Load(); n > 0 {
		w.fail("Close returned early", "%d Drops that another Close has called have not returned", n)
	}
}

// CloseLocal closes the Local on a goroutine of its own.
func (w *World) CloseLocal() {
	if w.Forget {
		return
	}
	w.cancelled.Store(true)
	w.call("Local.Close", w.closeLocal)
}

func (w *World) closeLocal() {
	l := w.localNow()
	if l == nil {
		return
	}
	l.Close()
	w.closed(1)
	w.hookOff.Store(true)
	idle := w.blocked[1].Load() == 0 && w.allBlk.Load() == 0
	w.mu.Lock()
	tasks := make([]*Task, 0, len(w.tasks))
	for _, t := range w.tasks {
		tasks = append(tasks, t)
	}
	ticking := w.ticker != nil && !w.ticker.done.Load()
	w.mu.Unlock()
	if !idle || ticking {
		return
	}
	for _, t := range tasks {
		if t.domain == 1 && t.inDomain == 1 && t.handleNow() != nil && !t.root.ended() &&
			t.root.in.Load() == 0 && !t.forgotten {
			w.fail("Close returned early", "task %d of the Local has not ended", t.id)
		}
	}
}

// handleNow is the handle, or nil: a task may be used before its spawn has returned.
func (t *Task) handleNow() *executor.JoinHandle[uint64] {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	return t.handle
}

// handleOf is the handle of a task, or nil.
func (w *World) handleOf(id int) *executor.JoinHandle[uint64] {
	if t := w.task(id); t != nil {
		return t.handleNow()
	}
	return nil
}

func (w *World) CloseChannel(n int) { w.call("Channel.Close", w.channel(n).close) }
func (w *World) TrySend(n, id int) {
	w.call("TrySend", func() { w.trySend(n, 1<<id) })
}

func (w *World) TryRecv(n int) {
	c := w.channel(n)
	w.call("TryRecv", func() {
		if v, ok := c.tryRecv(); ok {
			w.receive(c, v)
		}
	})
}

// SendOneshot ends oneshot n: how 0 sends, 1 fails if it is C's, 2 drops the sender.
func (w *World) SendOneshot(n, how, id int) {
	w.mu.Lock()
	o := w.oneshots[n%len(w.oneshots)]
	if o == nil || o.used {
		w.mu.Unlock()
		return
	}
	o.used = true
	w.mu.Unlock()
	if o.end != nil && how != 0 {
		w.cancelled.Store(true)
	}
	w.call("Oneshot", func() {
		switch {
		case o.end != nil:
			o.end(how, 1<<id)
		case how == 0:
			o.tx.Send(1 << id)
		default:
			o.tx.Drop()
		}
		o.over.Store(true)
	})
}

// DropShared drops the first handle of a Shared that no node has: it makes a clone and drops it.
func (w *World) DropShared(n int) {
	w.mu.Lock()
	h := w.shared[n%len(w.shared)]
	w.mu.Unlock()
	if h != nil {
		w.call("Shared.Drop", func() {
			defer func() { recover() }() // the last handle was dropped before
			h.h.Clone().Drop()
		})
	}
}

// Tick ticks the Local up to n times, unless a host does.
func (w *World) Tick(n int) { w.tick("Tick", func(l *executor.Local) { tickUpTo(l, n) }) }

func tickUpTo(l *executor.Local, n int) bool {
	for ; n > 0; n-- {
		if !l.Tick() {
			return false
		}
	}
	return true
}

func (w *World) TickN(n int) { w.tick("TickN", func(l *executor.Local) { l.TickN(n) }) }
func (w *World) TickFor() {
	w.tick("TickFor", func(l *executor.Local) { l.TickFor(time.Nanosecond) })
}

func (w *World) tick(name string, f func(l *executor.Local)) {
	l := w.localOf()
	w.mu.Lock()
	busy := w.ticker != nil && !w.ticker.done.Load()
	w.mu.Unlock()
	if busy || w.Host != "steps" && !w.Forget {
		return
	}
	c := w.begin(name, func() { w.labelled(func() { f(l) }) })
	w.mu.Lock()
	w.ticker = c
	w.mu.Unlock()
	w.until(name, func() bool { return c.done.Load() || w.blockedAny() })
}

func (w *World) Yield(n int) {
	for range n {
		runtime.Gosched()
	}
}

func (w *World) GC() { runtime.GC() }

// Seen waits a little until the leaf was polled: it orders steps, and checks nothing.
func (w *World) Seen(id int) {
	for range 200 {
		w.mu.Lock()
		for _, l := range w.leaves {
			if p, _, ended := l.progress(); l.number() == id && (p > 0 || ended) {
				w.mu.Unlock()
				return
			}
		}
		w.mu.Unlock()
		runtime.Gosched()
	}
}

// Nil gives nil to constructors, which must panic and name the call.
func (w *World) Nil() {
	for call, f := range map[string]func(){
		"future: Join":       func() { future.Join[uint64](nil, future.Ready(1)) },
		"future: JoinAll":    func() { future.JoinAll[uint64](nil) },
		"future: Race":       func() { future.Race[uint64](nil) },
		"future: Race: no":   func() { future.Race[uint64]() },
		"future: Map":        func() { future.Map[uint64](nil, func(uint64) int { return 0 }) },
		"future: Map: nil f": func() { future.Map[uint64, int](future.Ready(uint64(0)), nil) },
		"future: Then":       func() { future.Then[uint64](nil, func(uint64) F { return nil }) },
		"future: Timeout":    func() { future.Timeout[uint64](nil, time.Hour) },
		"future: Shared":     func() { future.Shared[uint64](nil) },
		"future: CatchPanic": func() { future.CatchPanic[uint64](nil) },
		"future: Unordered":  func() { future.Unordered[uint64](nil) },
		"future: Collect":    func() { future.Collect[uint64](nil) },
		"future: ForEach":    func() { future.ForEach[uint64](nil, func(uint64) {}) },
		"future: Next":       func() { future.Next[uint64](nil) },
		"future: Take":       func() { future.Take[uint64](nil, 1) },
		"future: Filter":     func() { future.Filter[uint64](nil, func(uint64) bool { return true }) },
		"future: Async":      func() { future.Async[uint64](nil) },
		"future: Channel":    func() { future.Channel[uint64](0) },
		"blockon: BlockOn":   func() { blockon.BlockOn[uint64](nil) },
		"blockon: Spin":      func() { blockon.Spin[uint64](nil) },
		"blockon: Await":     func() { blockon.Await[uint64](context.Background(), nil) },
		"executor: Spawn":    func() { executor.Spawn[uint64](w.executor(), nil) },
		"executor: Detach":   func() { executor.Detach(w.executor(), nil) },
		"executor: SpawnIn":  func() { executor.SpawnIn[uint64](w.scopeOf(0), nil) },
		"future: Then: the function returned a nil future": func() {
			blockon.BlockOn(future.Then(future.Ready(uint64(0)), func(uint64) F { return nil }))
		},
	} {
		func() {
			defer func() {
				if v := recover(); v == nil {
					w.fail("nil was accepted", "%s", call)
				} else if s, _ := v.(string); !strings.HasPrefix(s, call) {
					w.fail("nil was refused in other words", "%s: %v", call, v)
				}
			}()
			f()
		}()
	}
}

// Labels has each later tick checked: it must leave the profile labels of its goroutine.
func (w *World) Labels() { w.labels.Store(true) }

// labelled calls tick, which must leave the labels of this goroutine.
func (w *World) labelled(tick func()) {
	if !w.labels.Load() {
		tick()
		return
	}
	pprof.Do(context.Background(), pprof.Labels("host", "labelled"), func(context.Context) {
		tick()
		w.readLabels()
	})
}

// readLabels finds the labels of its goroutine in a profile.
func (w *World) readLabels() {
	var b strings.Builder
	pprof.Lookup("goroutine").WriteTo(&b, 1)
	for record := range strings.SplitSeq(b.String(), "\n\n") {
		if strings.Contains(record, ".readLabels") && !strings.Contains(record, "labelled\"}") {
			w.fail("labels are lost", "the goroutine that ticks has lost its profile labels")
		}
	}
}

// SlowWaker has C wake a function waker n times. The function blocks at a gate: it must be called,
// never twice at once, and at most once more for all the wakes that came meanwhile.
func (w *World) SlowWaker(n, gate int) {
	if !HasC {
		return
	}
	var calls, in atomic.Int32
	called, last := make(chan struct{}, 1), make(chan struct{})
	wk := rawwaker.FromFunc(func() {
		if in.Add(1) > 1 {
			w.fail("called by two at once", "a function waker that C wakes")
		}
		calls.Add(1)
		select {
		case called <- struct{}{}:
		default:
		}
		<-w.gates[gate%len(w.gates)]
		in.Add(-1)
		select {
		case <-last:
		default:
			close(last)
		}
	})
	cWake(wk.Clone(), 1)
	w.begin("the call of a function waker that C has woken", func() {
		<-called
		for i := range n {
			cWake(wk.Clone(), 1+i%2)
			runtime.Gosched()
		}
		wk.Drop()
		<-last
	})
}

// Sleepers detaches n tasks on the Local that sleep until the program ends.
func (w *World) Sleepers(n int) {
	l := w.localOf()
	w.call("Detach", func() {
		for range n {
			s := new(sleeper)
			w.mu.Lock()
			w.sleepers = append(w.sleepers, s)
			w.mu.Unlock()
			executor.DetachLocal(l, s)
		}
	})
}

// sleeper is ready when it is woken.
type sleeper struct {
	cell rawwaker.AtomicWaker
	over atomic.Bool
}

func (s *sleeper) Poll(cx *rawwaker.Context) (p rawwaker.Poll[struct{}]) {
	s.cell.Register(cx.Waker())
	if s.over.Load() {
		s.cell.Drop()
		p = rawwaker.Ready(struct{}{})
	}
	return p
}

func (s *sleeper) Drop() { s.cell.Drop() }

func (w *World) wakeSleepers() {
	w.mu.Lock()
	all := w.sleepers
	w.sleepers = nil
	w.mu.Unlock()
	for _, s := range all {
		s.over.Store(true)
		func() {
			defer w.swallow("the wake of a sleeper")
			s.cell.Wake()
		}()
	}
}

// ---------------------------------------------------------------------------------- the host

// startHost starts what ticks the Local from now on.
func (w *World) startHost() {
	l := w.localNow()
	if l == nil || w.Forget {
		return
	}
	w.mu.Lock()
	after := w.ticker
	w.mu.Unlock()
	if w.Host == "fd" && HasC {
		var err error
		if w.stopped, w.stopping, err = os.Pipe(); err != nil {
			panic(err)
		}
	}
	c := w.begin("the host of the Local", func() {
		if after != nil {
			<-after.over
		}
		for again := false; !w.hostEnd.Load(); again = true { // a task's Goexit ends a round
			over := make(chan struct{})
			go func() {
				defer close(over)
				defer w.swallow("a tick")
				w.labelled(func() { w.hostLoop(l, again) })
			}()
			<-over
		}
	})
	w.mu.Lock()
	w.ticker = c
	w.mu.Unlock()
}

// hostLoop ticks until hostEnd. asleep: the first round waits for a wake.
func (w *World) hostLoop(l *executor.Local, asleep bool) {
	round := func() bool { // whether something may be left
		switch {
		case w.Budget <= 0:
			for l.Tick() {
			}
			return false
		case w.Budget == 1:
			return l.TickFor(time.Nanosecond) > 0
		default:
			return l.TickN(w.Budget) == w.Budget
		}
	}
	for ; !w.hostEnd.Load(); asleep = false {
		switch fd := w.fd(l); {
		case fd >= 0:
			if !asleep {
				round()
			}
			waitFD(fd, int(w.stopped.Fd()))
			continue
		case asleep:
		case w.Host == "run":
			l.Run()
		default:
			for round() {
			}
		}
		<-w.bell
	}
}

// fd is the descriptor that the host waits for, or -1.
func (w *World) fd(l *executor.Local) int {
	if w.Host == "fd" && HasC {
		return l.FD()
	}
	return -1
}

// ---------------------------------------------------------------------------------- the end

// strictly wakes a leaf and waits until it was polled, unless that may be delayed.
func (w *World) strictly(l anyLeaf, how int, open bool) {
	t := l.owner()
	polls, seen, ended := l.progress()
	if ended || polls == 0 || t.loose || t.everywhere {
		if open {
			w.call("open", func() { l.wake(how, true) })
		}
		return
	}
	name := fmt.Sprintf("a poll of leaf %d, which was woken", l.number())
	w.call("wake", func() { l.wake(how, open) })
	done := func() bool {
		_, s, ended := l.progress()
		return ended || !open && s > seen || w.delayed(t)
	}
	if _, inC := l.(cLeafOf); inC { // it rings no bell
		w.waiting.Store(&name)
		for i := 0; !done(); i++ {
			runtime.Gosched()
			if i > 100 {
				time.Sleep(10 * time.Microsecond)
			}
		}
		w.waiting.Store(nil)
		return
	}
	w.until(name, done)
}

// delayed is whether user code delays the task.
func (w *World) delayed(t *Task) bool {
	if w.allBlk.Load() > 0 || t.blocked.Load() > 0 {
		return true
	}
	if t.inDomain == 1 {
		n := int(w.blocked[t.domain].Load())
		return n > 0 && (t.domain == 1 || n >= w.Workers || w.cancelled.Load())
	}
	return false
}

// Expect sets which bits the result of a task must and may have.
func (w *World) Expect(id, must, may int) {
	if t := w.task(id); t != nil {
		t.expected, t.must, t.may = true, uint64(must), uint64(may)
	}
}

// End ends the program and checks what must hold then. order orders the leaves.
func (w *World) End(order int) []Violation {
	w.startHost()
	w.mu.Lock()
	leaves := append([]anyLeaf(nil), w.leaves...)
	w.mu.Unlock()
	for i := range leaves { // a permutation by order
		j := order % (i + 1)
		order = order/7 + i
		leaves[i], leaves[j] = leaves[j], leaves[i]
	}
	w.rest()
	if w.Strict {
		for i, l := range leaves {
			w.strictly(l, i, false)
		}
	}
	for i := range w.gates {
		w.Gate(i)
	}
	for i, l := range leaves {
		if w.Strict {
			w.strictly(l, i+order, true)
		} else {
			w.call("open", func() { l.wake(i+order, true) })
		}
	}
	w.open.Store(true)
	w.mu.Lock()
	late := append([]anyLeaf(nil), w.leaves...)
	channels, senders := w.channels, append([]*cSender(nil), w.cSenders...)
	w.cSenders = nil
	w.mu.Unlock()
	for _, l := range late {
		w.call("open", func() { l.wake(0, true) })
	}
	w.rest()
	for _, c := range channels {
		if c != nil {
			w.call("Channel.Close", c.close)
		}
	}
	for i := range w.oneshots {
		w.SendOneshot(i, 2, 0)
	}
	for _, s := range senders {
		w.call("drop of a C sender", s.close)
	}
	w.rest()
	w.stopBusy()
	if len(w.sleepers) > 0 {
		w.call("wake of the sleepers", w.wakeSleepers)
	}
	w.collect()
	w.close()
	w.check()
	w.clear()
	return w.violations
}

// clear breaks the cycles from user code to what was forgotten. A Go future that C holds would
// keep all of that.
func (w *World) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tasks {
		t.handle, t.root, t.ended = nil, nil, nil
	}
	w.tasks, w.leaves, w.cLeaves, w.guards, w.pending = nil, nil, nil, nil, nil
	w.waits = nil
	w.local, w.ex, w.ticker = nil, nil, nil
	clear(w.scope[:])
	clear(w.shared[:])
	clear(w.channels[:])
	clear(w.oneshots[:])
}

func (w *World) stopBusy() {
	for _, c := range w.pending { // RunUntil returns though others are busy
		if strings.HasPrefix(c.name, "RunUntil") {
			w.until(c.name+" beside a busy task", c.done.Load)
		}
	}
	w.stop.Store(true)
}

// collect waits for each task.
func (w *World) collect() {
	for id := range 64 {
		t, h := w.task(id), w.handleOf(id)
		if h == nil || t.forgotten || t.taken.Swap(true) {
			continue
		}
		w.begin(fmt.Sprintf("the outcome of task %d", id), func() {
			r := blockon.BlockOn(h.Outcome())
			if r.Err != nil {
				w.panicked(fmt.Sprintf("task %d", id), r.Err)
				return
			}
			t.result.value.Store(r.Value)
			t.result.set.Store(true)
		})
	}
	w.settle("host")
}

// settle waits for all calls but the Local's host.
func (w *World) settle(but string) {
	for i := 0; i < len(w.pending); i++ {
		c := w.pending[i]
		if but != "" && c.name == "the host of the Local" {
			continue
		}
		w.until(c.name, c.done.Load)
	}
}

// idle waits until no task is left, those without a handle included.
func (w *World) idle() {
	name := "the end of all tasks"
	w.waiting.Store(&name)
	for i := 0; ; i++ {
		left := 0
		if ex := w.exNow(); ex != nil {
			left += ex.Len()
		}
		if l := w.localNow(); l != nil && !w.Forget {
			left += l.Len()
		}
		if left == 0 {
			break
		}
		runtime.Gosched()
		if i > 100 {
			time.Sleep(10 * time.Microsecond)
		}
	}
	w.waiting.Store(nil)
}

func (w *World) close() {
	if w.scope[0] != nil {
		w.begin("Scope.Wait", func() { w.scope[0].Wait() })
	}
	if w.scope[1] != nil && !w.Forget {
		w.begin("Scope.Wait of the Local", func() { w.scope[1].Wait() })
	}
	w.settle("host")
	w.idle()
	if ex := w.exNow(); ex != nil {
		w.begin("Executor.Wait", func() { ex.Wait(context.Background()) })
		w.settle("host")
		w.begin("Executor.Close", w.closeExecutor)
		w.begin("a second Executor.Close", w.closeExecutor)
	}
	w.hostEnd.Store(true)
	if w.stopping != nil {
		w.stopping.Close()
		defer w.stopped.Close()
	}
	if l := w.localNow(); l != nil && !w.Forget {
		w.begin("Local.Close", w.closeLocal)
		w.settle("host")
		select {
		case w.bell <- struct{}{}:
		default:
		}
	}
	w.settle("")
	w.late.Wait()
	w.cancel()
}

func (w *World) check() {
	faults := w.mayFail()
	for _, g := range w.guards {
		if s := g.state.Load(); !g.forgotten && s != ready && s != dropped {
			w.fail("never dropped", "%s is %s", g.name, stateNames[s])
		}
	}
	for _, l := range w.leaves {
		c, ok := l.(cLeafOf)
		if !ok {
			continue
		}
		if bad := c.get(4); bad != 0 {
			w.fail(fmt.Sprintf("C leaf misused: %d", bad), "leaf %d", c.id)
		}
		if c.get(3) == 0 && !c.task.forgotten {
			w.fail("C leaf never dropped", "leaf %d", c.id)
		}
	}
	for _, l := range w.cLeaves {
		l.release()
	}
	for id, t := range w.tasks {
		v := t.result.value.Load()
		switch {
		case t.unpolled && t.root.polls.Load() > 0:
			w.fail("polled in a scope that has ended", "task %d", id)
		case !t.expected || t.forgotten:
		case !t.result.set.Load():
			if !faults && t.ended != nil {
				w.fail("no result", "task %d", id)
			}
		case v&^t.may != 0:
			w.fail("wrong result", "task %d: %#x has more than %#x", id, v, t.may)
		case !faults && t.must&^v != 0:
			w.fail("wrong result", "task %d: %#x has not all of %#x", id, v, t.must)
		}
	}
	for i, c := range w.channels {
		if c == nil {
			continue
		}
		for {
			v, ok := c.rx.TryRecv()
			if !ok {
				break
			}
			w.receive(c, v)
		}
		if lost := c.sent.Load() &^ c.received.Load(); lost != 0 && !c.lossy.Load() {
			w.fail("a value is lost", "channel %d: %#x", i, lost)
		}
	}
}

// debugs is whether the library runs with a key of FFIWAKERDEBUG.
func debugs(key string) bool { return strings.Contains(os.Getenv("FFIWAKERDEBUG"), key) }
