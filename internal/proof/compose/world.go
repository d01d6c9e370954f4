package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// F and S are what programs are composed of. The bits of a value are the leaves that it came from.
type (
	F = rawwaker.Future[uint64]
	S = rawwaker.Stream[uint64]
)

// Config is what a World has from its start.
type Config struct {
	Workers  int    // of the executor
	Host     string // who ticks the Local: steps, hook, fd, run, waker
	Budget   int    // ticks per round of the host; 0: until nothing is left
	Capacity int    // of each channel
	Faults   bool   // a fault may replace any result
	Strict   bool   // at the end each leaf is woken, and must be polled
	Forget   bool   // the Local is forgotten, not closed
	Isolated bool   // no task wakes another
	C        bool   // wakers cross to C
	Hook     int    // from which call on the Local's hook panics, once; 0: never
}

// Act is what user code does at one of its calls.
type Act struct {
	On  int    // 0: in a poll or function; 1: in Drop
	At  int    // in which call, from 1
	Do  string // see site.do
	Arg int
	Sub func(e *Task) F // for nest and spawn
}

// fault is what user code panics with.
type fault struct{ at string }

func (f fault) Error() string { return "fault at " + f.at }

// Violation is a rule that did not hold.
type Violation struct{ Kind, Detail string }

// World runs one program. One goroutine, the controller, calls its exported methods.
type World struct {
	Config
	mu         sync.Mutex
	violations []Violation
	leaves     []anyLeaf
	cLeaves    []*cLeaf
	guards     []*guard
	waits      []*wait

	tasks map[int]*Task
	ex    *executor.Executor
	local *executor.Local
	scope [2]*executor.Scope // of the executor and the Local

	ctx    context.Context
	cancel context.CancelFunc

	gates     [4]chan struct{}
	gateOpen  [4]bool
	channels  [3]*channelState
	shared    [4]*sharedState
	oneshots  [4]*oneshotState
	cSenders  []*cSender
	cancelled atomic.Bool // the context, an abort or a close

	event   chan struct{} // a leaf was polled or has ended, a call has returned, user code blocks
	blocked [2]atomic.Int32
	allBlk  atomic.Int32 // user code that blocks where any task may wait for it
	pending []*call
	open    atomic.Bool // all leaves
	stop    atomic.Bool // busy leaves end
	bell    chan struct{}
	hostEnd atomic.Bool

	stopped, stopping *os.File // ends the host's wait for the descriptor

	hookOff  atomic.Bool // Close of the Local has returned
	hooks    atomic.Int32
	hookOver atomic.Bool    // it has panicked
	late     sync.WaitGroup // goroutines that no one else waits for
	labels   atomic.Bool
	dropping [2]atomic.Int32 // Drops that block in a Close of the executor, of the Local
	sleepers []*sleeper
	waiting  atomic.Pointer[string]
	ticker   *call // what ticks the Local, or did last
}

type oneshotState struct {
	tx   *future.OneshotSender[uint64]
	used bool
	over atomic.Bool             // its receiver must be ready
	end  func(how int, v uint64) // of C
}

type cSender struct {
	end  func()
	over atomic.Bool
}

func (s *cSender) close() {
	s.end()
	s.over.Store(true)
}

type channelState struct {
	tx       *future.Sender[uint64]
	rx       *future.Receiver[uint64]
	sent     atomic.Uint64
	received atomic.Uint64
	lossy    atomic.Bool
	values   atomic.Int64 // in it
	unsure   atomic.Bool  // values may be wrong, or reserved for what no one polls
	closed   atomic.Bool
}

// Start returns a World.
func Start(c Config) *World {
	w := &World{Config: c, tasks: map[int]*Task{}, event: make(chan struct{}, 1),
		bell: make(chan struct{}, 1)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	for i := range w.gates {
		w.gates[i] = make(chan struct{})
	}
	if c.Host != "" {
		w.localOf()
	}
	return w
}

func (w *World) fail(kind, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violations = append(w.violations, Violation{kind, fmt.Sprintf(format, args...)})
}

func (w *World) ring() {
	select {
	case w.event <- struct{}{}:
	default:
	}
}

// until waits, on the controller's goroutine, until ok.
func (w *World) until(what string, ok func() bool) {
	if ok() {
		return
	}
	w.waiting.Store(&what)
	for !ok() {
		<-w.event
	}
	w.waiting.Store(nil)
}

// ---------------------------------------------------------------------------------- calls

// call is a call of the library on a goroutine of its own, which user code may block, or end by a
// panic or Goexit.
type call struct {
	name string
	done atomic.Bool
	over chan struct{}
}

// begin starts f, and does not wait.
func (w *World) begin(name string, f func()) *call {
	c := &call{name: name, over: make(chan struct{})}
	w.pending = append(w.pending, c)
	go func() {
		defer func() {
			c.done.Store(true)
			close(c.over)
			w.ring()
		}()
		defer w.swallow(name)
		f()
	}()
	return c
}

// call starts f and waits until it has returned, or until some user code blocks.
func (w *World) call(name string, f func()) *call {
	c := w.begin(name, f)
	w.until(name, func() bool { return c.done.Load() || w.blockedAny() })
	for range 20 {
		if c.done.Load() {
			break
		}
		runtime.Gosched()
	}
	return c
}

func (w *World) blockedAny() bool {
	if w.allBlk.Load() > 0 {
		return true
	}
	for i := range w.blocked {
		if w.blocked[i].Load() > 0 {
			return true
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.tasks {
		if t.blocked.Load() > 0 {
			return true
		}
	}
	return false
}

// swallow ends a panic that a fault may have caused.
func (w *World) swallow(name string) {
	if v := recover(); v != nil {
		w.panicked(name, v)
	}
}

func (w *World) panicked(name string, v any) {
	if why := w.refuse(v); why != "" {
		w.fail("panic", "%s panicked with %s\n%s", name, why, debug.Stack())
	}
}

// mayFail is whether something has happened that may replace a result by an error.
func (w *World) mayFail() bool { return w.Faults || w.cancelled.Load() }

// refuse returns what is wrong with a panic's value, or "".
func (w *World) refuse(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case fault:
		if !w.Faults {
			return "a fault in a program without faults"
		}
		return ""
	case *rawwaker.PanicError:
		return w.refuse(x.Value)
	case *rawwaker.ForeignPanic:
		for _, ok := range []string{"fault", "executor: ", "future: channel closed",
			"oneshot: sender dropped", "context ", "called runtime.Goexit"} {
			if strings.Contains(x.Message, ok) && w.mayFail() {
				return ""
			}
		}
		return "ForeignPanic " + x.Message
	case error:
		for _, ok := range []error{executor.ErrAborted, executor.ErrClosed, future.ErrClosed,
			context.Canceled} {
			if errors.Is(x, ok) && w.mayFail() {
				return ""
			}
		}
		var p *rawwaker.PanicError
		if errors.As(x, &p) {
			return w.refuse(p)
		}
	}
	return fmt.Sprintf("%T %v", v, v)
}

// ---------------------------------------------------------------------------------- guard

// guard checks how a future or stream is used.
type guard struct {
	w         *World
	name      string
	forgotten bool
	in        atomic.Int32
	state     atomic.Int32
}

const (
	live = iota
	ready
	failed // its poll panicked; it is to be dropped
	dropped
)

var stateNames = [...]string{"live", "ready", "failed", "dropped"}

func (w *World) guard(g *guard, e *Task, name string) {
	g.w, g.name, g.forgotten = w, name, e.forgotten
	w.mu.Lock()
	defer w.mu.Unlock()
	w.guards = append(w.guards, g)
}

func (g *guard) enter() {
	if !g.in.CompareAndSwap(0, 1) {
		g.w.fail("polled by two at once", "%s", g.name)
	}
	if s := g.state.Load(); s != live {
		g.w.fail("polled after "+stateNames[s], "%s\n%s", g.name, debug.Stack())
	}
}

// leave ends what enter began; it is deferred.
func (g *guard) leave(returned *bool, over *bool) {
	switch {
	case !*returned:
		g.state.CompareAndSwap(live, failed)
	case *over:
		g.state.CompareAndSwap(live, ready)
	}
	g.in.Store(0)
	if !*returned || *over {
		g.w.ring()
	}
}

// drop reports whether this is the first and only drop.
func (g *guard) drop() bool {
	if g.in.Load() != 0 {
		g.w.fail("dropped during a poll", "%s\n%s", g.name, debug.Stack())
	}
	s := g.state.Swap(dropped)
	g.w.ring()
	switch s {
	case live, failed:
		return true
	case ready:
		g.w.fail("dropped after ready", "%s\n%s", g.name, debug.Stack())
	default:
		g.w.fail("dropped twice", "%s\n%s", g.name, debug.Stack())
	}
	return false
}

func (g *guard) ended() bool { s := g.state.Load(); return s == ready || s == dropped }

// ---------------------------------------------------------------------------------- site

// site is a place where user code runs.
type site struct {
	w    *World
	task *Task
	name string
	acts []Act
	n    [2]atomic.Int32

	waker bool // a waker function, which other tasks may call
}

func (s *site) visit(on int, cx *rawwaker.Context) {
	if len(s.acts) == 0 {
		return
	}
	n := int(s.n[on].Add(1))
	for i := range s.acts {
		if a := &s.acts[i]; a.On == on && a.At == n {
			s.do(a, cx)
		}
	}
}

// busyIn counts user code that blocks or nests in the task's domain, until the result is called.
func (s *site) busyIn() func() {
	end := s.calling()
	s.w.ring()
	return end
}

// calling counts user code that calls the library, until the result is called. The call may run
// user code of another task, which may block: a Spawn on a closed executor drops its future.
func (s *site) calling() func() {
	n := &s.w.allBlk
	if all := s.task.everywhere || s.waker && !s.w.Isolated; !all {
		n = s.task.blocked
		s.w.blocked[s.task.domain&1].Add(int32(s.task.inDomain))
	}
	n.Add(1)
	return func() {
		n.Add(-1)
		if n != &s.w.allBlk {
			s.w.blocked[s.task.domain&1].Add(-int32(s.task.inDomain))
		}
	}
}

func (s *site) do(a *Act, cx *rawwaker.Context) {
	w := s.w
	switch a.Do {
	case "panic":
		panic(fault{s.name})
	case "goexit":
		runtime.Goexit()
	case "wake", "open", "abort", "cancel", "closeExecutor", "closeLocal", "closeChannel", "trySend",
		"spawn":
		defer s.calling()()
	}
	switch a.Do {
	case "block":
		if w.gateOpenNow(a.Arg) {
			return
		}
		if a.On == 1 {
			defer w.droppedByClose()()
		}
		defer s.busyIn()()
		<-w.gates[a.Arg%len(w.gates)]
	case "self":
		if cx != nil {
			cx.Waker().WakeByRef()
		}
	case "clone":
		if cx != nil {
			cx.Waker().Clone().Wake()
		}
	case "wake":
		w.wakeLeaf(a.Arg, 0, false)
	case "open":
		w.wakeLeaf(a.Arg, 0, true)
	case "abort":
		if h := w.handleOf(a.Arg); h != nil {
			w.cancelled.Store(true)
			h.Abort()
		}
	case "cancel":
		w.cancelled.Store(true)
		w.cancel()
	case "closeExecutor":
		if ex := w.exNow(); ex != nil {
			w.cancelled.Store(true)
			ex.Close()
		}
	case "closeLocal":
		if l := w.localNow(); l != nil {
			w.cancelled.Store(true)
			l.Close()
		}
	case "closeChannel":
		w.channel(a.Arg).close()
		w.ring()
	case "trySend":
		w.trySend(a.Arg, 1<<60)
	case "nest":
		func() {
			defer s.busyIn()()
			blockon.BlockOn(w.nested(s.task, a.Sub))
		}()
	case "spawn":
		w.spawnDetached(s.task, a)
	case "tick":
		w.nestTick(s.task)
	case "dropWaker":
		if s.task.dropWaker != nil {
			s.task.dropWaker()
		}
	case "yield":
		runtime.Gosched()
	case "take": // see composeTake
	default:
		panic("compose: no act " + a.Do)
	}
}

// droppedByClose counts a Drop that blocks, until the result is called, if a Close has called it.
func (w *World) droppedByClose() func() {
	stack := string(debug.Stack())
	by := [2]int32{}
	for i, end := range []string{"executor.(*Executor).end", "executor.(*Local).end("} {
		if strings.Contains(stack, end) {
			by[i] = 1
		}
		w.dropping[i].Add(by[i])
	}
	return func() {
		for i, n := range by {
			w.dropping[i].Add(-n)
		}
	}
}

func (w *World) gateOpenNow(n int) bool {
	select {
	case <-w.gates[n%len(w.gates)]:
		return true
	default:
		return false
	}
}

// nested builds a tree in the middle of a run.
func (w *World) nested(t *Task, sub func(e *Task) F) F {
	return sub(&Task{w: w, id: t.id, domain: t.domain, everywhere: true, blocked: t.blocked})
}

func (w *World) spawnDetached(t *Task, a *Act) {
	on := a.Arg % 2
	e := &Task{w: w, id: -1, domain: on, inDomain: 1, blocked: &atomic.Int32{},
		loose: on == 1 && w.Forget}
	e.forgotten = e.loose
	f := future.Map(a.Sub(e), func(uint64) struct{} { return struct{}{} })
	if on == 0 {
		executor.Detach(w.executor(), f)
	} else {
		executor.DetachLocal(w.localOf(), f)
	}
}

// nestTick ticks the Local inside one of its tasks, which is refused.
func (w *World) nestTick(t *Task) {
	l := w.localNow()
	if l == nil || t.domain != 1 || t.everywhere {
		return
	}
	refused := false
	func() {
		defer func() { refused = recover() != nil }()
		l.Tick()
	}()
	if !refused {
		w.fail("nested tick", "a Tick inside a task of the Local was not refused")
	}
}

// ---------------------------------------------------------------------------------- leaves

type anyLeaf interface {
	number() int
	wake(how int, open bool)
	progress() (polls, seen int, ended bool)
	owner() *Task
}

// leaf is a future or stream that is ready when it is opened.
type leaf struct {
	guard
	site
	id, keep int
	selfs    atomic.Int32
	items    int
	busy     bool
	opened   atomic.Bool
	nudged   atomic.Bool
	polls    atomic.Int32
	seen     atomic.Int32
	cell     rawwaker.AtomicWaker
	mu       sync.Mutex // of kept
	kept     *rawwaker.Waker
}

func (l *leaf) number() int  { return l.id }
func (l *leaf) owner() *Task { return l.site.task }
func (l *leaf) progress() (int, int, bool) {
	return int(l.polls.Load()), int(l.seen.Load()), l.busy || l.state.Load() != live
}

func (l *leaf) register(w *rawwaker.Waker) {
	switch l.keep {
	case 0:
		l.cell.Register(w)
	default:
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.kept == nil || !l.kept.WillWake(w) {
			if l.kept != nil {
				l.kept.Drop()
			}
			l.kept = w.Clone()
		}
	}
}

func (l *leaf) release() {
	l.cell.Drop()
	l.mu.Lock()
	k := l.kept
	l.kept = nil
	l.mu.Unlock()
	if k != nil {
		k.Drop()
	}
}

func (l *leaf) wake(how int, open bool) {
	if open {
		l.opened.Store(true)
	} else {
		l.nudged.Store(true)
	}
	if l.keep == 0 {
		l.cell.Wake()
		return
	}
	l.mu.Lock()
	var k *rawwaker.Waker
	if l.kept != nil {
		if how%2 == 1 {
			k, l.kept = l.kept, nil
		} else {
			k = l.kept.Clone()
		}
	}
	l.mu.Unlock()
	switch {
	case k == nil:
	case how%6 < 2:
		k.Wake()
	case how%6 < 4 || !l.w().C:
		k.WakeByRef()
		k.Wake()
	default:
		cWake(k, how%3)
	}
}

// pollLeaf is the first half of a poll: it reports whether the leaf may end.
func (l *leaf) pollLeaf(cx *rawwaker.Context) bool {
	n := l.polls.Add(1)
	l.register(cx.Waker())
	if l.nudged.Swap(false) {
		l.seen.Add(1)
		l.w().ring()
	}
	l.visit(0, cx)
	if l.busy && !l.w().stop.Load() {
		runtime.Gosched()
		cx.Waker().WakeByRef()
		return false
	}
	if l.selfs.Load() > 0 {
		l.selfs.Add(-1)
		cx.Waker().WakeByRef()
		return false
	}
	if n > 64 {
		runtime.Gosched()
	}
	return l.busy || l.opened.Load() || l.w().open.Load()
}

func (l *leaf) w() *World { return l.site.w }

func (l *leaf) Poll(cx *rawwaker.Context) (p rawwaker.Poll[uint64]) {
	l.enter()
	returned, over := false, false
	defer l.leave(&returned, &over)
	if over = l.pollLeaf(cx); over {
		l.release()
		p = rawwaker.Ready(uint64(1) << l.id)
	}
	returned = true
	return p
}

// asStream is the leaf as a stream of its items.
type asStream struct{ *leaf }

func (s asStream) Poll() {} // hides the future

func (s asStream) PollNext(cx *rawwaker.Context) (p rawwaker.Poll[rawwaker.Item[uint64]]) {
	l := s.leaf
	l.enter()
	returned, over := false, false
	defer l.leave(&returned, &over)
	switch {
	case !l.pollLeaf(cx):
	case l.items == 0:
		over = true
		l.release()
		p = rawwaker.Ready(rawwaker.Item[uint64]{})
	default:
		l.items--
		p = rawwaker.Ready(rawwaker.Item[uint64]{Value: 1 << l.id, Ok: true})
	}
	returned = true
	return p
}

func (l *leaf) Drop() {
	if !l.drop() {
		return
	}
	l.release()
	l.visit(1, nil)
}

// cLeafOf is a leaf in C.
type cLeafOf struct {
	*cLeaf
	id   int
	task *Task
}

func (l cLeafOf) number() int  { return l.id }
func (l cLeafOf) owner() *Task { return l.task }
func (l cLeafOf) progress() (int, int, bool) {
	return l.get(0), l.get(1), l.get(2) != 0
}
func (l cLeafOf) wake(how int, open bool) { l.cLeaf.wake(open, how%2 == 1) }

func (w *World) add(l anyLeaf) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.leaves = append(w.leaves, l)
}

func (w *World) wakeLeaf(id, how int, open bool) {
	w.mu.Lock()
	all := w.leaves
	w.mu.Unlock()
	for _, l := range all {
		if l.number() == id {
			l.wake(how, open)
		}
	}
}

// ---------------------------------------------------------------------------------- parts

func (w *World) task(id int) *Task {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.tasks[id]
}

func (w *World) exNow() *executor.Executor {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ex
}

func (w *World) localNow() *executor.Local {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.local
}

func (w *World) executor() *executor.Executor {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ex == nil {
		w.ex = executor.New(executor.Workers(max(w.Workers, 1)))
	}
	return w.ex
}

func (w *World) localOf() *executor.Local {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.local == nil {
		w.local = executor.NewLocal()
		switch {
		case w.Forget:
		case w.Host == "waker" && HasC:
			w.local.WakeWith(rawwaker.FromFunc(w.wakeHost))
		default:
			w.local.OnWake(w.hook)
		}
	}
	return w.local
}

func (w *World) hook() {
	if w.hookOff.Load() {
		w.fail("hook after Close", "the hook of the Local was called after Close had returned")
	}
	if w.Hook > 0 && w.hooks.Add(1) >= int32(w.Hook) && !onItsOwn() && !w.hookOver.Swap(true) {
		w.hookPanics()
	}
	w.wakeHost()
}

// onItsOwn is whether the library calls the hook on a goroutine of its own. There a panic
// reaches no caller, and the call has been made.
func onItsOwn() bool { return strings.Contains(string(debug.Stack()), "(*Call).goroutine") }

// hookPanics does not wake the host. A spawn that comes afterwards must call the hook again.
func (w *World) hookPanics() {
	l, over := w.local, make(chan struct{})
	w.late.Go(func() {
		<-over
		executor.DetachLocal(l, future.Ready(struct{}{}))
	})
	defer close(over)
	panic(fault{"hook"})
}

// wakeHost wakes the host. A function waker of WakeWith may be called after Close.
func (w *World) wakeHost() {
	select {
	case w.bell <- struct{}{}:
	default:
	}
}

func (w *World) channel(n int) *channelState {
	n %= len(w.channels)
	w.mu.Lock()
	c := w.channels[n]
	made := c == nil
	if made {
		c = &channelState{}
		c.tx, c.rx = future.Channel[uint64](max(w.Capacity, 1))
		w.channels[n] = c
	}
	w.mu.Unlock()
	if made && w.open.Load() {
		c.close()
	}
	return c
}

func (w *World) trySend(n int, v uint64) {
	c := w.channel(n)
	if c.sent.Or(v)&v != 0 {
		return // a value is sent once
	}
	if !c.trySend(v) {
		c.sent.And(^v)
	}
	w.ring()
}

// ---------------------------------------------------------------------------------- the end

// hangs ends the process with status 3, and prints what it waits for.
func (w *World) hangs() {
	what := "the controller"
	if p := w.waiting.Load(); p != nil {
		what = *p
	}
	buf := make([]byte, 1<<20)
	fmt.Fprintf(os.Stderr, "violation: hang: waiting for %s\n", what)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		if !strings.Contains(stack, ").hangs") && !strings.Contains(stack, "wake.dispatch") &&
			!strings.Contains(stack, "(*goroutines).run") {
			fmt.Fprintf(os.Stderr, "%s\n\n", stack)
		}
	}
	os.Exit(3)
}
