package wake

import (
	"sync"
	"sync/atomic"
)

// Table gives values numbers for C. A number is a generation of 32 bits over an index of 32 bits.
// Generations begin at 1, so no number is 0. A slot whose generations are used up is not used
// again, so no number comes twice.
//
// Get takes no lock, because C threads call it all the time. A slot's value is set after its
// generation and read before it, so a Get that overlaps the reuse of a slot reads a generation that
// is not its own.
type Table[V any] struct {
	slots atomic.Pointer[[]*slot[V]] // grows; a slot stays where it is
	mu    sync.Mutex                 // of Put and Take
	free  []uint32
	live  int
}

type slot[V any] struct {
	gen atomic.Uint32
	v   atomic.Pointer[V] // nil: free
}

// Put gives v, which is not nil, a number.
func (t *Table[V]) Put(v *V) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var s *slot[V]
	var i uint32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
		s = (*t.slots.Load())[i]
	} else {
		s = new(slot[V])
		var all []*slot[V]
		if old := t.slots.Load(); old != nil {
			all = *old
		}
		i = uint32(len(all))
		all = append(all, s) // in place, beyond what any goroutine reads, or into a copy
		t.slots.Store(&all)
	}
	gen := s.gen.Add(1)
	s.v.Store(v)
	t.live++
	return uint64(gen)<<32 | uint64(i)
}

func (t *Table[V]) slot(id uint64) *slot[V] {
	all := t.slots.Load()
	if i := uint32(id); all != nil && uint64(i) < uint64(len(*all)) {
		return (*all)[i]
	}
	return nil
}

// Get returns the value of a number; nil: it was taken, or never was.
func (t *Table[V]) Get(id uint64) *V {
	if s := t.slot(id); s != nil {
		if v := s.v.Load(); s.gen.Load() == uint32(id>>32) {
			return v
		}
	}
	return nil
}

// Take is Get that ends the number: of several calls, one gets the value.
func (t *Table[V]) Take(id uint64) *V {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.Get(id)
	if v == nil {
		return nil
	}
	s := t.slot(id)
	s.v.Store(nil)
	t.live--
	if s.gen.Load() != ^uint32(0) {
		t.free = append(t.free, uint32(id))
	}
	return v
}

// Len returns how many values there are.
func (t *Table[V]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live
}
