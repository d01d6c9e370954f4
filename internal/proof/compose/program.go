package main

import (
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
)

// Program is a list of calls of a World's methods, and a tree of a Task's methods for each task.
type Program struct {
	Config Config
	Steps  []Step
	Order  int // of the leaves at the end
}

// Step is a call of a method of World.
type Step struct {
	Op   string
	Ints []int   `json:",omitempty"`
	Acts []ActOf `json:",omitempty"`
	Tree *Node   `json:",omitempty"`
}

// Node is a call of a method of Task.
type Node struct {
	Op   string
	Ints []int   `json:",omitempty"`
	Acts []ActOf `json:",omitempty"`
	Kids []*Node `json:",omitempty"`
}

// ActOf is an Act as data.
type ActOf struct {
	On, At int
	Do     string
	Arg    int   `json:",omitempty"`
	Sub    *Node `json:",omitempty"`
}

// ---------------------------------------------------------------------------------- running

var (
	typeFuture = reflect.TypeFor[F]()
	typeStream = reflect.TypeFor[S]()
	typeLazy   = reflect.TypeFor[func(e *Task) F]()
	typeActs   = reflect.TypeFor[[]Act]()
	typeInt    = reflect.TypeFor[int]()
	typeTask   = reflect.TypeFor[*Task]()
	methods    = map[reflect.Type]map[string]reflect.Method{}
)

func init() {
	for _, t := range []reflect.Type{reflect.TypeFor[*Task](), reflect.TypeFor[*World]()} {
		methods[t] = map[string]reflect.Method{}
		for m := range t.Methods() {
			methods[t][m.Name] = m
		}
	}
}

// arguments calls give for each argument of a method, with what a program has for it.
func arguments(of reflect.Type, op string, ints []int, kids []*Node,
	give func(t reflect.Type, n int, kid *Node)) reflect.Method {
	m, ok := methods[of][op]
	if !ok {
		panic("compose: no operation " + op)
	}
	next := func() (k *Node) { k, kids = kids[0], kids[1:]; return k }
	for i := 1; i < m.Type.NumIn(); i++ {
		switch t := m.Type.In(i); {
		case t == typeInt:
			give(t, ints[0], nil)
			ints = ints[1:]
		case t == typeActs:
			give(t, 0, nil)
		case m.Type.IsVariadic() && i == m.Type.NumIn()-1:
			for len(kids) > 0 {
				give(typeFuture, 0, next())
			}
		default:
			give(t, 0, next())
		}
	}
	return m
}

func invoke(on reflect.Value, op string, ints []int, acts []ActOf, kids []*Node) reflect.Value {
	args := make([]reflect.Value, 1, 8)
	args[0] = on
	task, _ := on.Interface().(*Task)
	m := arguments(on.Type(), op, ints, kids, func(t reflect.Type, n int, kid *Node) {
		switch t {
		case typeInt:
			args = append(args, reflect.ValueOf(n))
		case typeActs:
			args = append(args, reflect.ValueOf(actsOf(acts)))
		case typeLazy:
			args = append(args, reflect.ValueOf(lazy(kid)))
		default:
			args = append(args, build(task, kid))
		}
	})
	out := m.Func.Call(args)
	if len(out) == 0 {
		return reflect.Value{}
	}
	return out[0]
}

func actsOf(acts []ActOf) (all []Act) {
	for _, a := range acts {
		b := Act{On: a.On, At: a.At, Do: a.Do, Arg: a.Arg}
		if a.Sub != nil {
			b.Sub = lazy(a.Sub)
		}
		all = append(all, b)
	}
	return all
}

func lazy(n *Node) func(e *Task) F {
	return func(e *Task) F { return build(e, n).Interface().(F) }
}

func build(e *Task, n *Node) reflect.Value {
	v := invoke(reflect.ValueOf(e), n.Op, n.Ints, n.Acts, n.Kids)
	if plant != nil && !isStream(n) {
		v = reflect.ValueOf(plant(n.Op, v.Interface().(F)))
	}
	return v
}

// plant puts a fault into what a method of Task has returned. Tests set it.
var plant func(op string, f F) F

func (s *Step) kids() []*Node {
	if s.Tree == nil {
		return nil
	}
	return []*Node{s.Tree}
}

// run runs the program in this process.
func (p *Program) run(w *World) []Violation {
	on := reflect.ValueOf(w)
	for _, s := range p.all() {
		invoke(on, s.Op, s.Ints, s.Acts, s.kids())
	}
	return w.End(p.Order)
}

// all returns the steps and what the model expects.
func (p *Program) all() []Step {
	all := slices.Clone(p.Steps)
	for _, e := range expectations(p) {
		all = append(all, Step{Op: "Expect", Ints: []int{e.id, int(e.must), int(e.may)}})
	}
	return all
}

// ---------------------------------------------------------------------------------- the generator

// where is what a part of a tree must not contain.
type where struct {
	inC    bool // C polls and drops it: no Goexit, no panic in Drop
	closed bool // it refers to no other part
	forgot bool // it is never dropped
	local  bool // a task of the Local
	nested bool // no task that it waits for may run meanwhile
	again  bool // it is built again and again
	scoped bool // a task of a scope
	task   int
	depth  int
}

type generator struct {
	r        *rand.Rand
	p        *Program
	id       int
	nodes    int
	faults   int
	useC     bool
	goexit   bool
	close    string
	linked   bool // tasks use each other
	shared   [4]bool
	building [4]bool // the Shared whose future is being made
	handles  []int   // tasks that have one
	scopes   [2]bool
	done     [2]bool // a task awaits the scope
	noGo     bool
	huge     bool // a loop of many rounds is due
}

func (g *generator) n(n int) int { return g.r.IntN(n) }

func (g *generator) chance(percent int) bool { return g.n(100) < percent }

func (g *generator) pick(of ...string) string { return of[g.n(len(of))] }

func (g *generator) leafID() int {
	if g.id < 59 {
		g.id++
	}
	return g.id
}

// anID is the number of some leaf, perhaps of one that is made later.
func (g *generator) anID() int { return 1 + g.n(min(g.id+2, 59)) }

// Generate returns the program of a seed.
func Generate(seed uint64) *Program {
	g := &generator{r: rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)), p: &Program{}}
	g.useC = HasC && g.chance(55)
	g.goexit = g.chance(50)
	g.linked = g.chance(60)
	g.close = g.pick("closeExecutor", "closeLocal")
	if g.chance(65) {
		g.faults = 1 + g.n(4)
	}
	c := &g.p.Config
	*c = Config{Workers: 1 + g.n(4), Capacity: 1 + g.n(3), Strict: g.chance(60)}
	c.Isolated, c.C = !g.linked, g.useC
	if g.chance(55) {
		c.Host = g.pick("steps", "hook", "hook", "fd", "run", "waker")
		if c.Host == "fd" && !HasC || c.Host == "waker" && !HasC {
			c.Host = "hook"
		}
		c.Budget = []int{0, 0, 1, 2, 3}[g.n(5)]
		if g.chance(4) {
			c.Host, c.Forget = "steps", true
		}
	}
	if g.chance(1) && g.chance(30) {
		g.step("Nil")
	}
	g.extras()
	switch k := g.n(100); {
	case k < 8:
		g.crowd()
	case k < 11:
		g.queue()
		if g.chance(50) {
			g.p.Order = g.n(5040)
			c.Faults = g.p.faulty()
			return g.p
		}
	}
	for tasks := 1 + g.n(4); tasks > 0; {
		if g.chance(45) {
			g.task()
			tasks--
		} else {
			g.aStep()
		}
	}
	for range g.n(6) {
		g.aStep()
	}
	g.p.Order = g.n(5040)
	c.Faults = g.p.faulty()
	return g.p
}

// faulty is whether user code panics or calls Goexit.
func (p *Program) faulty() bool {
	faulty := p.Config.Hook > 0
	p.acts(func(a *ActOf) { faulty = faulty || a.Do == "panic" || a.Do == "goexit" })
	return faulty
}

// sparse is whether to make what costs much, in a few of 10,000 programs.
func (g *generator) sparse(of10000 int) bool { return g.n(10000) < of10000 }

// extras appends the steps that are rare, because they cost much.
func (g *generator) extras() {
	c := &g.p.Config
	if g.sparse(3) {
		g.step("LateSleeps", 2+g.n(60))
	}
	if g.sparse(20) {
		g.step("Labels")
	}
	if g.useC && g.sparse(100) {
		g.step("SlowWaker", 1+g.n(20), g.n(4))
	}
	if c.Host != "" && !c.Forget && g.sparse(3) {
		g.step("Sleepers", 20000+g.n(20000))
		g.huge = true
	}
	if g.sparse(4) {
		g.huge = true
	}
	if g.sparse(100) {
		c.Capacity = math.MaxInt >> 20
	}
	if c.Host == "hook" && !g.useC && g.chance(10) {
		c.Hook = 1 + g.n(4)
		g.noGo = true // its goroutine would be what the panic ends
	}
}

// crowd appends tasks that wait for one thing, most of them with wakers that act, and steps that
// end the wait.
func (g *generator) crowd() {
	g.linked, g.p.Config.Isolated = true, false
	id := 0
	add := func(op string, tree *Node, ints ...int) *Step {
		g.p.Steps = append(g.p.Steps, Step{Op: op, Ints: append([]int{id}, ints...), Tree: tree})
		id++
		return &g.p.Steps[len(g.p.Steps)-1]
	}
	leaf := func() *Node { return &Node{Op: "Leaf", Ints: []int{g.leafID(), g.n(2), 0}} }
	n := g.n(3)
	var waits func() *Node
	waker := "Manual"
	kind := g.n(5)
	switch kind {
	case 0:
		waits = func() *Node { return &Node{Op: "Recv", Ints: []int{n}} }
	case 1:
		waits = func() *Node { return &Node{Op: "Send", Ints: []int{n, g.leafID()}} }
	case 2:
		add("BlockOn", &Node{Op: "Shared", Ints: []int{0}, Kids: []*Node{leaf()}})
		g.shared[0] = true
		waits = func() *Node { return &Node{Op: "Clone", Ints: []int{0}} }
	case 3:
		add("Scoped", leaf(), 0)
		g.scopes[0], g.done[0] = true, true
		waker, waits = "Waiter", func() *Node { return &Node{Op: "ScopeDone", Ints: []int{0}} }
	case 4:
		add("Exec", leaf())
		waker, waits = "Waiter", func() *Node {
			return &Node{Op: g.pick("Handle", "Outcome"), Ints: []int{0}}
		}
	}
	for range 1 + g.n(4) {
		if g.chance(30) {
			add(g.pick("Exec", "BlockOn"), waits())
			continue
		}
		s := add(waker, waits())
		if g.chance(70) {
			a := ActOf{At: 1, Do: g.pick("block", "panic", "goexit"), Arg: g.n(4)}
			if a.Do == "block" || waker == "Waiter" || !g.useC {
				s.Acts = []ActOf{a}
				g.noGo = g.noGo || a.Do != "block" && waker == "Manual"
			}
		}
	}
	if g.chance(50) {
		add("Exec", leaf())
	}
	g.step("Yield", 1+g.n(40))
	switch {
	case kind == 0 && g.chance(50):
		g.step("TrySend", n, g.leafID())
	case kind == 1 && g.chance(70):
		g.step("TryRecv", n)
	case kind < 2:
		g.step("CloseChannel", n)
	case kind == 3 && g.chance(30):
		g.step("AbortScope", 0)
	default:
		g.step("Open", 1, g.n(6))
	}
}

// queue appends tasks of a Local that wait for one thing, and gives up some of them between the
// wake and the poll: the Local is ticked by steps.
func (g *generator) queue() {
	c := &g.p.Config
	g.linked, c.Isolated = true, false
	c.Host, c.Forget, c.Hook, g.noGo = "steps", false, 0, false
	id := 0
	add := func(op string, tree *Node) {
		g.p.Steps = append(g.p.Steps, Step{Op: op, Ints: []int{id}, Tree: tree})
		id++
	}
	leaf := func() *Node { return &Node{Op: "Leaf", Ints: []int{g.leafID(), g.n(2), 0}} }
	n := g.n(3)
	var waits func() *Node
	var end func() // some of what they wait for
	switch kind := g.n(8); {
	case kind < 3:
		waits = func() *Node {
			if g.chance(30) {
				s := &Node{Op: "RecvStream", Ints: []int{n}}
				return &Node{Op: "Next", Kids: []*Node{s}}
			}
			return &Node{Op: "Recv", Ints: []int{n}}
		}
		end = func() { g.step("TrySend", n, g.leafID()) }
	case kind < 6:
		c.Capacity = 1 + g.n(2)
		for range c.Capacity {
			g.step("TrySend", n, g.leafID())
		}
		waits = func() *Node { return &Node{Op: "Send", Ints: []int{n, g.leafID()}} }
		end = func() { g.step("TryRecv", n) }
	case kind == 6:
		shared := leaf()
		add("Local", &Node{Op: "Shared", Ints: []int{0}, Kids: []*Node{shared}})
		g.shared[0] = true
		waits = func() *Node { return &Node{Op: "Clone", Ints: []int{0}} }
		end = func() { g.step("Open", shared.Ints[0], g.n(6)) }
	default:
		scoped := leaf()
		g.p.Steps = append(g.p.Steps, Step{Op: "Scoped", Ints: []int{id, 1}, Tree: scoped})
		id++
		g.scopes[1], g.done[1] = true, true
		waits = func() *Node { return &Node{Op: "ScopeDone", Ints: []int{1}} }
		end = func() { g.step("Open", scoped.Ints[0], g.n(6)) }
	}
	var givenUp []func()
	for range 2 + g.n(3) {
		tree := waits()
		switch g.n(6) {
		case 0, 1:
			l := leaf()
			kids := []*Node{l, tree}
			if g.chance(30) {
				kids = []*Node{tree, l}
			}
			tree = &Node{Op: "Race", Kids: kids}
			givenUp = append(givenUp, func() { g.step("Open", l.Ints[0], g.n(6)) })
		case 2:
			task := id
			givenUp = append(givenUp, func() { g.step("Abort", task) })
		case 3:
			tree = &Node{Op: g.pick("Timeout", "Catch", "Named"), Kids: []*Node{tree}}
		}
		add("Local", tree)
	}
	g.step("Tick", 8)
	for range 1 + g.n(2) {
		end()
	}
	for range 1 + g.n(2) {
		if len(givenUp) > 0 {
			givenUp[g.n(len(givenUp))]()
		}
	}
	g.step("Tick", 1+g.n(8))
}

func (g *generator) step(op string, ints ...int) {
	g.p.Steps = append(g.p.Steps, Step{Op: op, Ints: ints})
}

func (g *generator) aStep() {
	switch g.n(18) {
	case 0, 1:
		g.step("Open", g.anID(), g.n(6))
	case 2, 3, 4:
		g.step("Wake", g.anID(), g.n(6))
	case 5, 6:
		g.step("Seen", g.anID())
	case 7:
		g.step("Yield", 1+g.n(20))
	case 8:
		g.step("Gate", g.n(4))
	case 9, 10:
		if g.p.Config.Host == "steps" {
			switch g.n(4) {
			case 0:
				g.step("TickFor")
			case 1:
				g.step("TickN", 1+g.n(3))
			default:
				g.step("Tick", 1+g.n(8))
			}
		}
	case 11:
		if g.linked {
			g.step("TrySend", g.n(3), g.leafID())
		}
	case 12:
		if g.linked {
			g.step(g.pick("TryRecv", "CloseChannel", "TryRecv", "DropShared"), g.n(3))
		}
	case 13:
		g.step("SendOneshot", g.n(4), g.n(3), g.leafID())
	case 14:
		if len(g.handles) > 0 {
			g.step(g.pick("Abort", "DropHandle"), g.handles[g.n(len(g.handles))])
		}
	case 15:
		if g.chance(40) {
			g.step("Cancel")
		}
	case 16:
		if g.chance(30) {
			if g.p.Config.Host != "" && g.chance(50) {
				g.step("CloseLocal")
			} else {
				g.step("CloseExecutor")
			}
			if g.chance(30) { // beside the one that may block
				g.p.Steps = append(g.p.Steps, g.p.Steps[len(g.p.Steps)-1])
			}
		} else if s := g.n(2); g.scopes[s] && g.chance(40) {
			g.step("AbortScope", s)
		}
	case 17:
		if g.chance(1) {
			g.step("GC")
		}
	}
}

// task appends a step that starts a task.
func (g *generator) task() {
	id := 0
	for _, s := range g.p.Steps {
		if s.Tree != nil {
			id++
		}
	}
	g.nodes = 3 + g.n(10)
	c := where{task: id, depth: 4}
	s := Step{Ints: []int{id}}
	local := g.p.Config.Host != ""
	handle := false
	switch k := g.n(20); {
	case k < 4:
		s.Op, handle = "Exec", true
	case k < 9 && local:
		s.Op, c.local, handle = "Local", true, !g.p.Config.Forget
	case k < 9:
		s.Op, handle = "Exec", true
	case k < 11:
		s.Op = "Scoped"
		on := 0
		if local && g.chance(50) && g.p.Config.Hook == 0 { // a scope aborts where no one recovers
			on = 1
		}
		if g.done[on] {
			s.Op = "Detached"
		}
		g.scopes[on], c.scoped = true, true
		s.Ints = append(s.Ints, on)
		c.local = on == 1
		handle = s.Op == "Scoped" && (on == 0 || !g.p.Config.Forget)
	case k == 11:
		s.Op = "Detached"
		on := 0
		if local {
			on = g.n(2)
		}
		s.Ints, c.local = append(s.Ints, on), on == 1
	case k == 12 && g.useC, k == 13 && g.useC:
		s.Op, c.inC = "CHost", true
		s.Ints = append(s.Ints, g.n(4))
	case k == 12, k == 13, k == 14:
		s.Op = "Await"
	case k == 15:
		s.Op = "AwaitCancel"
		if g.chance(50) {
			s.Acts = []ActOf{{At: 1, Do: "open", Arg: g.anID()}}
		}
	case k == 16:
		s.Op = "Manual"
		s.Acts = g.wakerActs()
	case k == 17:
		s.Op = "Swap"
		if g.chance(50) && g.useC {
			s.Tree = &Node{Op: "C", Ints: []int{g.leafID(), g.n(3)},
				Acts: []ActOf{{At: 1 + g.n(2), Do: "dropWaker"}}}
			g.p.Steps = append(g.p.Steps, s)
			return
		}
	case k == 18 && g.chance(20):
		s.Op = "Spin"
	case k == 18 && local && !g.p.Config.Forget:
		s.Op, c.local, c.closed = "RunUntil", true, true
	default:
		s.Op = "BlockOn"
	}
	c.forgot = c.local && g.p.Config.Forget
	switch {
	case (s.Op == "Local" || s.Op == "Exec" || s.Op == "Await") && g.chance(4) && !c.forgot:
		s.Tree = &Node{Op: "Busy", Ints: []int{g.leafID()}}
		if g.chance(50) {
			kid := &Node{Op: "Endless", Ints: s.Tree.Ints}
			s.Tree = &Node{Op: g.pick("Collect", "ForEach"), Kids: []*Node{kid}}
		}
		handle = false
	default:
		s.Tree = g.tree(c)
	}
	if handle && g.linked {
		g.handles = append(g.handles, id)
	}
	g.p.Steps = append(g.p.Steps, s)
}

// wakerActs are what a waker function may do. It may panic only if neither C nor a goroutine of
// the library calls it, which would end the program.
func (g *generator) wakerActs() (acts []ActOf) {
	for range g.n(3) {
		a := ActOf{At: 1 + g.n(3), Do: g.pick("block", "open", "wake", "yield", "abort", "panic",
			"goexit"), Arg: g.n(6)}
		if a.Do == "panic" || a.Do == "goexit" {
			if g.useC {
				continue
			}
			g.noGo = true
		}
		acts = append(acts, a)
	}
	return acts
}

// acts are what user code does at a place; inDrop: it is called by a Drop too.
func (g *generator) acts(c where, inDrop, inLeafOfC bool) (acts []ActOf) {
	for g.faults > 0 && g.chance(25) {
		g.faults--
		a := ActOf{At: 1 + g.n(3)}
		if inDrop && g.chance(40) && !c.forgot {
			a.On, a.At = 1, 1
		}
		unwinds := (!inLeafOfC || !asan && !c.inC) && !(a.On == 1 && c.inC)
		switch k := g.n(24); {
		case k < 5 && unwinds:
			a.Do = "panic"
		case k < 8 && unwinds && !c.inC && g.goexit:
			a.Do = "goexit"
		case k < 11:
			a.Do, a.Arg = "block", g.n(4)
		case k < 13:
			a.Do = g.pick("self", "clone")
		case k < 15:
			a.Do, a.Arg = g.pick("wake", "open"), g.anID()
		case k >= 15 && k <= 17 && c.inC && g.goexit:
			continue // it may run a Drop that calls Goexit
		case k == 15:
			a.Do, a.Arg = "abort", g.n(4)
		case k == 16:
			a.Do = "cancel"
		case k == 17:
			a.Do = g.close
			if a.Do == "closeLocal" && (g.p.Config.Forget || g.p.Config.Host == "") {
				continue
			}
		case k == 18 && g.linked:
			a.Do, a.Arg = g.pick("closeChannel", "trySend"), g.n(3)
		case (k == 19 || k == 20) && unwinds: // the tree may panic
			a.Do, a.Sub = "nest", g.tree(where{closed: true, depth: 2, inC: c.inC,
				nested: true, task: c.task})
		case k == 21:
			a.Do, a.Sub = "spawn", g.tree(where{closed: true, depth: 2, inC: c.inC,
				task: c.task})
			if g.p.Config.Host != "" && !g.p.Config.Forget {
				a.Arg = g.n(2)
			}
		case k == 22 && c.local && a.On == 0:
			a.Do = "tick"
		default:
			a.Do = "yield"
		}
		acts = append(acts, a)
	}
	return acts
}

func (g *generator) leaf(c where) *Node {
	g.nodes--
	for {
		switch k := g.n(22); {
		case k == 21:
			what, n := g.n(ways), 1+g.n(3)
			if what < cheapWays && g.chance(10) {
				n *= 2000
			}
			return &Node{Op: "GivesUp", Ints: []int{what, n}}
		case k < 8:
			return &Node{Op: "Leaf", Ints: []int{g.leafID(), g.n(2), g.selfs()},
				Acts: g.acts(c, true, false)}
		case k < 12 && g.useC:
			leaf := &Node{Op: "C", Ints: []int{g.leafID(), g.selfs()}, Acts: g.acts(c, true, true)}
			if g.chance(15) {
				leaf.Acts = append(leaf.Acts, ActOf{At: 1, Do: "take"})
			}
			return leaf
		case k == 12:
			return &Node{Op: g.pick("Ready", "PollFn", "Yield"), Ints: []int{g.leafID()}}
		case k == 13 && !c.forgot && !g.noGo:
			return &Node{Op: "GoCall", Ints: []int{g.leafID()}}
		case k == 14:
			return &Node{Op: "Oneshot", Ints: []int{g.n(4)}}
		case k == 15 && g.useC:
			return &Node{Op: "COneshot", Ints: []int{g.n(4)}}
		case k == 16 && g.linked && !c.closed:
			return &Node{Op: "Recv", Ints: []int{g.n(3)}}
		case k == 17 && g.linked && !c.closed && !c.again:
			return &Node{Op: "Send", Ints: []int{g.n(3), g.leafID()}}
		case k == 18 && len(g.handles) > 0 && !c.closed && g.linked:
			return &Node{Op: g.pick("Handle", "Outcome"),
				Ints: []int{g.handles[g.n(len(g.handles))]}}
		case k == 20 && !c.closed && !c.scoped:
			n := g.n(2)
			if g.p.Config.Forget { // the future of a forgotten Local's scope would keep the Local
				n = 0
			}
			if g.scopes[n] { // no later task of the scope may wait for this one
				g.done[n] = true
				return &Node{Op: "ScopeDone", Ints: []int{n}}
			}
		case k == 19 && !c.closed && !c.forgot && g.linked && !c.inC:
			if n := g.n(4); g.shared[n] {
				return &Node{Op: "Clone", Ints: []int{n}}
			}
		}
	}
}

func (g *generator) selfs() int {
	if g.chance(70) {
		return 0
	}
	return 1 + g.n(3)
}

func (g *generator) kids(c where, least, most int) (kids []*Node) {
	for range least + g.n(most-least+1) {
		kids = append(kids, g.tree(c))
	}
	return kids
}

func (g *generator) tree(c where) *Node {
	c.depth--
	if c.depth <= 0 || g.nodes <= 0 || g.chance(20) {
		return g.leaf(c)
	}
	g.nodes--
	inC := c
	inC.inC = true
	lazy := c
	for {
		switch g.n(25) {
		case 0, 1:
			return &Node{Op: "Join", Kids: g.kids(c, 2, 2)}
		case 2, 3:
			return &Node{Op: "All", Kids: g.kids(c, 0, 4)}
		case 4, 5:
			return &Node{Op: "Race", Kids: g.kids(c, 1, 4)}
		case 6:
			return &Node{Op: "Map", Kids: g.kids(c, 1, 1), Acts: g.acts(c, false, false)}
		case 7, 8:
			return &Node{Op: "Then", Kids: g.kids(c, 2, 2), Acts: g.acts(c, false, false)}
		case 9:
			n := g.n(100)
			if g.huge && !c.inC {
				n, g.huge = 500000, false
			}
			return &Node{Op: "Rounds", Kids: g.kids(c, 1, 1), Ints: []int{n}}
		case 10:
			return &Node{Op: "Catch", Kids: g.kids(c, 1, 1)}
		case 11:
			if c.forgot { // its timer would keep the task
				continue
			}
			return &Node{Op: g.pick("Timeout", "TimeoutNow"), Kids: g.kids(c, 1, 1)}
		case 12:
			if c.closed || !g.linked || c.inC || c.again {
				continue
			}
			n := g.n(4)
			if g.shared[n] || g.building[n] { // one that is built late must not find a later one
				continue
			}
			g.building[n] = true
			node := &Node{Op: "Shared", Ints: []int{n}, Kids: g.kids(lazy, 1, 1)}
			g.shared[n], g.building[n] = true, false
			return node
		case 13, 14:
			if c.forgot {
				continue
			}
			return &Node{Op: "Async", Kids: g.kids(c, 0, 3), Acts: g.acts(c, true, false)}
		case 15:
			if g.useC {
				return &Node{Op: "Crossed", Kids: g.kids(inC, 1, 1)}
			}
		case 16:
			if g.useC {
				return &Node{Op: "CrossedFunc", Kids: g.kids(inC, 1, 1),
					Acts: g.acts(inC, false, false)}
			}
		case 17:
			return &Node{Op: g.pick("Named", "Probe"), Kids: g.kids(c, 1, 1)}
		case 18:
			if g.chance(40) {
				lazy.forgot, lazy.closed = true, true
				return &Node{Op: "Forget", Ints: []int{g.n(4)}, Kids: g.kids(lazy, 1, 1)}
			}
		case 19:
			lazy.again = true
			return &Node{Op: "GiveUp", Ints: []int{g.n(4)}, Kids: g.kids(lazy, 1, 1)}
		case 20:
			if c.nested {
				continue
			}
			on := 0
			if g.p.Config.Host != "" && !g.p.Config.Forget {
				on = g.n(2)
			}
			lazy.closed, lazy.local = true, false // after a Close it is dropped here
			return &Node{Op: "Spawned", Ints: []int{on}, Kids: g.kids(lazy, 1, 1)}
		case 21:
			if g.chance(30) && !c.forgot {
				lazy.closed, lazy.nested = true, true
				return &Node{Op: "BlockOn", Kids: g.kids(lazy, 1, 1)}
			}
		case 22:
			return &Node{Op: "Collect", Kids: []*Node{g.stream(c)}}
		case 23:
			return &Node{Op: "ForEach", Kids: []*Node{g.stream(c)}, Acts: g.acts(c, false, false)}
		case 24:
			return &Node{Op: "Next", Kids: []*Node{g.stream(c)}}
		}
	}
}

func (g *generator) stream(c where) *Node {
	c.depth--
	g.nodes--
	inC := c
	inC.inC = true
	for {
		k := g.n(12)
		if c.depth <= 0 {
			k = g.n(7)
		}
		switch k {
		case 0, 1:
			return &Node{Op: "Items", Acts: g.acts(c, true, false),
				Ints: []int{g.leafID(), g.n(2), g.selfs(), g.n(5)}}
		case 2:
			n := g.n(5)
			if g.chance(10) {
				n *= 100
			}
			return &Node{Op: "Values", Ints: []int{g.leafID(), n}}
		case 3:
			if g.linked && !c.closed {
				return &Node{Op: "RecvStream", Ints: []int{g.n(3)}}
			}
		case 4:
			if g.useC {
				return &Node{Op: "CChannel", Ints: []int{g.leafID(), g.n(3)}}
			}
		case 5, 6, 7:
			return &Node{Op: "Unordered", Kids: g.kids(c, 0, 4)}
		case 8:
			return &Node{Op: "Take", Ints: []int{g.n(4)}, Kids: []*Node{g.stream(c)}}
		case 9:
			return &Node{Op: "Filter", Kids: []*Node{g.stream(c)}, Acts: g.acts(c, false, false)}
		case 10:
			return &Node{Op: "MapStream", Kids: []*Node{g.stream(c)}, Acts: g.acts(c, false, false)}
		case 11:
			if g.useC {
				return &Node{Op: "CrossedStream", Kids: []*Node{g.stream(inC)}}
			}
		}
	}
}

// ---------------------------------------------------------------------------------- walking

// visit calls f with each node, those of acts included.
func (n *Node) visit(f func(n *Node)) {
	if n == nil {
		return
	}
	f(n)
	for _, k := range n.Kids {
		k.visit(f)
	}
	for i := range n.Acts {
		n.Acts[i].Sub.visit(f)
	}
}

// acts calls f with each act.
func (p *Program) acts(f func(a *ActOf)) {
	all := func(acts []ActOf) {
		for i := range acts {
			f(&acts[i])
		}
	}
	for i := range p.Steps {
		all(p.Steps[i].Acts)
		p.Steps[i].Tree.visit(func(n *Node) { all(n.Acts) })
	}
}

// ---------------------------------------------------------------------------------- the model

type expectation struct {
	id        int
	must, may uint64
}

type bits struct{ must, may uint64 }

// model computes which bits a node's result must and may have, if nothing fails.
type model struct {
	tasks    map[int]bits
	shared   map[int]uint64
	sent     uint64
	oneshots uint64
}

func expectations(p *Program) (all []expectation) {
	m := &model{tasks: map[int]bits{}, shared: map[int]uint64{}}
	for _, s := range p.Steps {
		switch s.Op {
		case "TrySend":
			m.sent |= 1 << s.Ints[1]
		case "SendOneshot":
			m.oneshots |= 1 << s.Ints[2]
		}
		s.Tree.visit(func(n *Node) {
			if n.Op == "Send" {
				m.sent |= 1 << n.Ints[1]
			}
		})
	}
	p.acts(func(a *ActOf) {
		if a.Do == "trySend" {
			m.sent |= 1 << 60
		}
	})
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Tree == nil {
			continue
		}
		b := m.of(s.Tree)
		m.tasks[s.Ints[0]] = b
		if s.Op != "Detached" {
			all = append(all, expectation{s.Ints[0], b.must, b.may})
		}
	}
	return all
}

func (m *model) of(n *Node) bits {
	var kids []bits
	for _, k := range n.Kids {
		kids = append(kids, m.of(k))
	}
	all := bits{}
	for _, k := range kids {
		all.must |= k.must
		all.may |= k.may
	}
	switch n.Op {
	case "Leaf", "Busy", "Ready", "PollFn", "Yield", "GoCall", "C":
		return bits{1 << n.Ints[0], 1 << n.Ints[0]}
	case "Send":
		return bits{1 << n.Ints[1], 1 << n.Ints[1]}
	case "Oneshot", "COneshot":
		return bits{0, m.oneshots | 1<<0}
	case "Recv", "RecvStream":
		return bits{0, m.sent}
	case "Handle", "Outcome":
		return bits{0, m.tasks[n.Ints[0]].may}
	case "Clone":
		return bits{0, m.shared[n.Ints[0]]}
	case "ScopeDone", "GivesUp":
		return bits{}
	case "Race":
		all.must = kids[0].must
		for _, k := range kids {
			all.must &= k.must
		}
	case "Shared":
		m.shared[n.Ints[0]] |= all.may
	case "TimeoutNow", "Forget", "Filter", "Take", "Next":
		all.must = 0
	case "Items", "Values", "CChannel":
		if n.Ints[len(n.Ints)-1] > 0 { // how many
			return bits{1 << n.Ints[0], 1 << n.Ints[0]}
		}
		return bits{}
	case "Endless":
		return bits{0, 1 << n.Ints[0]}
	}
	return all
}
