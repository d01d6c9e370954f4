package wake

import "sync"

// Table gives values numbers under which C knows them. A number is 32 bits of generation over 32 of index, shifted away from
// zero by the generation's start at 1; a slot whose generations are used up is not used again, so no number comes twice.
type Table[V comparable] struct {
	mu    sync.Mutex
	slots []slot[V]
	free  []uint32
	live  int
}

type slot[V comparable] struct {
	gen uint32
	v   V // the zero value: free
}

// Put gives v, which is not zero, a number.
func (t *Table[V]) Put(v V) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	var i uint32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = uint32(len(t.slots))
		t.slots = append(t.slots, slot[V]{})
	}
	s := &t.slots[i]
	s.gen++
	s.v = v
	t.live++
	return uint64(s.gen)<<32 | uint64(i)
}

// Get returns the value of a number, zero where it is gone or never was.
func (t *Table[V]) Get(id uint64) (v V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := uint32(id); int(i) < len(t.slots) && t.slots[i].gen == uint32(id>>32) {
		v = t.slots[i].v
	}
	return v
}

// Take is Get that ends the number: of several calls one gets the value.
func (t *Table[V]) Take(id uint64) (v V) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var zero V
	i := uint32(id)
	if int(i) >= len(t.slots) || t.slots[i].gen != uint32(id>>32) || t.slots[i].v == zero {
		return zero
	}
	s := &t.slots[i]
	v, s.v = s.v, zero
	t.live--
	if s.gen != ^uint32(0) {
		t.free = append(t.free, i)
	}
	return v
}

// Len is how many values there are.
func (t *Table[V]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live
}
