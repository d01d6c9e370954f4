package main

import "encoding/json"

func (p *Program) clone() *Program {
	text, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	q := &Program{}
	if err := json.Unmarshal(text, q); err != nil {
		panic(err)
	}
	return q
}

// size is what the shrinker makes smaller.
func (p *Program) size() (n int) {
	for _, s := range p.Steps {
		n += 4
		for _, i := range s.Ints[min(1, len(s.Ints)):] {
			n += min(i, 2)
		}
		s.Tree.visit(func(m *Node) {
			n += 8
			if m.Op == "Leaf" || m.Op == "Ready" {
				n -= 2
			}
			for _, i := range m.Ints[min(1, len(m.Ints)):] {
				n += min(i, 2)
			}
		})
	}
	p.acts(func(a *ActOf) {
		n += 3 + a.At
		a.Sub.visit(func(*Node) { n += 8 })
	})
	c := p.Config
	for _, on := range []bool{c.Strict, c.Forget, c.Host != "", c.Workers > 1, c.Budget > 0,
		c.Hook > 0, c.Capacity > 1, p.Order > 0} {
		if on {
			n++
		}
	}
	return n
}

// usesLocal is whether the program needs its Local.
func (p *Program) usesLocal() (uses bool) {
	node := func(n *Node) {
		uses = uses || (n.Op == "Spawned" || n.Op == "ScopeDone") && n.Ints[0]%2 == 1
	}
	for _, s := range p.Steps {
		switch s.Op {
		case "Local", "RunUntil", "Sleepers", "Tick", "TickN", "TickFor", "CloseLocal":
			uses = true
		case "Scoped", "Detached":
			uses = uses || s.Ints[1]%2 == 1
		case "AbortScope":
			uses = uses || s.Ints[0]%2 == 1
		}
		s.Tree.visit(node)
	}
	p.acts(func(a *ActOf) { uses = uses || a.Do == "spawn" && a.Arg%2 == 1 })
	return uses
}

// edits are functions that make a program smaller, or change nothing.
func (p *Program) edits() (all []func(q *Program)) {
	add := func(f func(q *Program)) { all = append(all, f) }
	for i := len(p.Steps) - 1; i >= 0; i-- {
		add(func(q *Program) { q.Steps = append(q.Steps[:i:i], q.Steps[i+1:]...) })
	}
	for i, s := range p.Steps {
		if s.Tree == nil {
			continue
		}
		for _, op := range []string{"BlockOn", "Exec", "Local"} {
			if s.Op != op && (op == "BlockOn" || s.Op != "BlockOn") {
				add(func(q *Program) {
					q.Steps[i] = Step{Op: op, Ints: q.Steps[i].Ints[:1], Tree: q.Steps[i].Tree}
				})
			}
		}
		n := 0
		s.Tree.visit(func(m *Node) {
			at := n
			n++
			put := func(op string, ints ...int) {
				add(func(q *Program) { *nodeAt(q.Steps[i].Tree, at) = Node{Op: op, Ints: ints} })
			}
			for k := range m.Kids { // a node becomes one of its kids
				add(func(q *Program) {
					m := nodeAt(q.Steps[i].Tree, at)
					if isStream(m) == isStream(m.Kids[k]) {
						*m = *m.Kids[k]
					}
				})
			}
			if m.Op != "Leaf" && !isStream(m) {
				put("Leaf", 50+at%9, 0, 0)
				put("Ready", 50+at%9)
			}
			if isStream(m) && m.Op != "Items" {
				put("Values", 50+at%9, 1)
			}
			if variadic(m.Op) {
				for k := range m.Kids {
					add(func(q *Program) {
						m := nodeAt(q.Steps[i].Tree, at)
						if len(m.Kids) > 1 {
							m.Kids = append(m.Kids[:k:k], m.Kids[k+1:]...)
						}
					})
				}
			}
			for k := 1; k < len(m.Ints); k++ {
				add(func(q *Program) { nodeAt(q.Steps[i].Tree, at).Ints[k] = 0 })
				add(func(q *Program) { nodeAt(q.Steps[i].Tree, at).Ints[k] = 1 })
			}
			for k := range m.Acts {
				add(func(q *Program) {
					m := nodeAt(q.Steps[i].Tree, at)
					m.Acts = append(m.Acts[:k:k], m.Acts[k+1:]...)
				})
				add(func(q *Program) { nodeAt(q.Steps[i].Tree, at).Acts[k].At = 1 })
			}
		})
		for k := range s.Acts {
			add(func(q *Program) {
				q.Steps[i].Acts = append(q.Steps[i].Acts[:k:k], q.Steps[i].Acts[k+1:]...)
			})
		}
		for k := 1; k < len(s.Ints); k++ {
			add(func(q *Program) { q.Steps[i].Ints[k] = 0 })
		}
	}
	add(func(q *Program) { q.Config.Strict = false })
	add(func(q *Program) { q.Config.Forget = false })
	add(func(q *Program) { q.Config.Workers = 1 })
	add(func(q *Program) { q.Config.Budget = 0 })
	add(func(q *Program) { q.Config.Capacity = 1 })
	add(func(q *Program) { q.Config.Hook = 0 })
	add(func(q *Program) { q.Order = 0 })
	add(func(q *Program) {
		if !q.usesLocal() {
			q.Config.Host = ""
		}
	})
	return all
}

func isStream(n *Node) bool {
	m := methods[typeTask][n.Op]
	return m.Type.Out(0) == typeStream
}

func variadic(op string) bool { return methods[typeTask][op].Type.IsVariadic() }

// nodeAt returns the node that visit calls its function with as the n-th.
func nodeAt(root *Node, n int) (found *Node) {
	root.visit(func(m *Node) {
		if n == 0 {
			found = m
		}
		n--
	})
	return found
}

// shrink returns a small program for which bad still holds.
func shrink(p *Program, bad func(p *Program) bool) *Program {
	for again := true; again; {
		again = false
		edits := p.edits()
		for i := 0; i < len(edits); i++ {
			q := p.clone()
			if !try(q, edits[i]) || q.size() >= p.size() || !bad(q) {
				continue
			}
			p, again = q, true
			edits = p.edits()
			i = min(i, len(edits)) - 1
		}
	}
	return p
}

// try applies an edit that may not fit.
func try(q *Program, edit func(q *Program)) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	edit(q)
	if q.usesLocal() && q.Config.Host == "" {
		return false
	}
	q.Config.Faults = q.faulty()
	return true
}
