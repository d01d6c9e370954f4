//go:build cgo

package wake

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// brood is an owner of relays, as a WakerSet is.
type brood struct {
	group    *Group
	members  []member
	schedule func(i int32)
}

type member struct {
	core Core
	of   *brood
	i    int32
}

func (m *member) Schedule(Place)         { m.of.schedule(m.i) }
func (m *member) Root() *Core            { return nil }
func (m *member) Group() (*Group, int32) { return m.of.group, m.i }

// rooted is a relay whose root changes: each call of Root returns the next of roots, and the last
// from then on.
type rooted struct {
	core  Core
	roots []*Core
}

func (r *rooted) Schedule(Place)         {}
func (r *rooted) Group() (*Group, int32) { return GroupOfOne(&r.core), 0 }
func (r *rooted) Root() *Core {
	root := r.roots[0]
	if len(r.roots) > 1 {
		r.roots = r.roots[1:]
	}
	return root
}

func TestKeep(t *testing.T) {
	t.Run("keeps_the_root_of_a_relay_that_has_crossed_until_it_ends", func(t *testing.T) {
		a, b := new(Core), new(Core)
		r := &rooted{roots: []*Core{a}}
		r.core.InitRelay(r)
		r.core.Keep()
		require.Nil(t, r.core.crossing.Load(), "C has not seen it")
		w, ok := r.core.Cross()
		require.True(t, ok)
		x := r.core.crossing.Load()
		require.Same(t, a, x.root.Load())
		r.roots = []*Core{b}
		r.core.Keep()
		require.Same(t, b, x.root.Load())
		r.core.End()
		r.core.Keep()
		require.Nil(t, ended.root.Load(), "that of all cores that have ended")
		capi.Drop(w)
	})
	t.Run("looks_again_for_a_root_that_has_changed_meanwhile", func(t *testing.T) {
		a, b := new(Core), new(Core)
		r := &rooted{roots: []*Core{a, b}}
		r.core.InitRelay(r)
		w, ok := r.core.Cross()
		require.True(t, ok)
		require.Same(t, b, r.core.crossing.Load().root.Load())
		r.core.End()
		capi.Drop(w)
	})
}

func newBrood(n int) *brood {
	b := &brood{members: make([]member, n)}
	b.group = NewGroup(b, func(b *brood, i int32) *Core { return &b.members[i].core })
	for i := range b.members {
		m := &b.members[i]
		m.of, m.i = b, int32(i)
		m.core.InitRelay(m)
	}
	return b
}

func TestGroup(t *testing.T) {
	t.Run("finds_each_of_its_relays_and_has_no_weak_pointer_for_one", func(t *testing.T) {
		const n = 5
		b := newBrood(n)
		var scheduled [n]int
		b.schedule = func(i int32) { scheduled[i]++ }
		var all [n]capi.Raw
		for i := range all {
			w, ok := b.members[i].core.Cross()
			require.True(t, ok)
			all[i] = w
			x := b.members[i].core.crossing.Load()
			require.Nil(t, x.core)
			require.Same(t, b.group, x.group)
			require.Same(t, &b.members[i].core, x.find())
			require.True(t, b.members[i].core.Sleep())
		}
		for i := n - 1; i >= 0; i-- {
			id := capi.BoxID(all[i])
			require.Same(t, &b.members[i].core, coreOf(id))
			coreOf(id).Wake()
			require.Equal(t, 1, scheduled[i])
			capi.Drop(all[i])
			b.members[i].core.End()
			require.Nil(t, coreOf(id))
		}
	})
	t.Run("that_was_collected_closes_the_boxes_that_are_left", func(t *testing.T) {
		before := Registered()
		b := newBrood(4)
		var all []capi.Raw
		for i := range b.members {
			w, ok := b.members[i].core.Cross()
			require.True(t, ok)
			all = append(all, w)
		}
		b.members[1].core.End()
		require.Equal(t, before+3, Registered())
		b = nil
		for Registered() > before {
			runtime.GC()
			runtime.Gosched()
		}
		for _, w := range all {
			capi.WakeByRef(w) // does nothing
			capi.Drop(w)
		}
	})
	t.Run("that_was_collected_closes_a_box_that_was_not_the_first", func(t *testing.T) {
		before := Registered()
		b := newBrood(1)
		w, ok := b.members[0].core.Cross()
		require.True(t, ok)
		// As if two polls had each made a box, and C had given up the first.
		x := b.members[0].core.crossing.Load()
		x.mu.Lock()
		x.extra = &extraBox{box: x.box, id: x.id}
		x.box, x.id = 0, 0
		x.mu.Unlock()
		b = nil
		for Registered() > before {
			runtime.GC()
			runtime.Gosched()
		}
		capi.Drop(w)
	})
	t.Run("is_one_though_two_make_it", func(t *testing.T) {
		b := newBrood(2)
		first := b.group
		NewGroup(
			b,
			func(b *brood, i int32) *Core { return &b.members[i].core },
		) // the loser's: its end has nothing to close
		w, ok := b.members[0].core.Cross()
		require.True(t, ok)
		require.Same(t, first, b.members[0].core.crossing.Load().group)
		b.members[0].core.End()
		capi.Drop(w)
	})
}
