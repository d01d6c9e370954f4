package broken

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// GoStream returns a new stream of an entry of InGo.
func GoStream(e Entry) wakertest.Stream[uint64] { return newFeed(e.Name).subject() }

var streamEntries = []Entry{
	{Name: "sound_go_stream", Kind: "stream", Does: "keeps every rule"},
	{Name: "go_stream_keeps_no_waker", Kind: "stream", Kit: "pending_keeps_a_waker",
		Does: "returns Pending and keeps no waker"},
	{Name: "go_stream_drops_the_waker", Kind: "stream", Kit: "context_is_borrowed",
		Does: "drops the context's waker"},
	{Name: "go_stream_never_wakes", Kind: "stream", Kit: "wakes_when_it_can_go_on",
		Does: "does not wake when an item comes"},
	{Name: "go_stream_keeps_the_first_waker", Kind: "stream", Kit: "latest_waker_is_woken",
		Does: "keeps the waker of its first poll until a wake"},
	{Name: "go_stream_panics_unasked", Kind: "stream", Kit: "unasked_poll",
		Does: "panics if it is polled without a wake"},
	{Name: "go_stream_keeps_its_waker", Kind: "stream", Kit: "drop_while_pending",
		Does: "Drop while pending does not drop the waker"},
	{Name: "go_stream_leaks_if_never_polled", Kind: "stream", Kit: "drop_before_the_poll",
		Does: "Drop before the first poll releases nothing"},
	{Name: "go_stream_drop_races_with_wake", Kind: "stream", Kit: "drop_beside_the_wake",
		Does: "the sending side wakes a waker that Drop may have dropped"},
	{Name: "go_stream_wakes_under_its_lock", Kind: "stream", Kit: "wakes_under_no_lock",
		Does: "wakes while it holds its lock"},
	{Name: "go_stream_wakes_before_the_item", Kind: "stream", Kit: "set_before_wake",
		Does: "wakes before the item is there"},
	{Name: "go_stream_loses_an_item", Kind: "stream", Kit: "items_in_order",
		Does: "an item that comes while two are unread is lost"},
	{Name: "go_stream_reverses", Kind: "stream", Kit: "items_in_order",
		Does: "gives the latest item first"},
	{Name: "go_stream_repeats_an_item", Kind: "stream", Kit: "items_in_order",
		Does: "gives the last item twice"},
	{Name: "go_stream_ends_silently", Kind: "stream", Kit: "wakes_at_its_end",
		Does: "does not wake at its end"},
	{Name: "go_stream_ends_once", Kind: "stream", Kit: "end_is_repeated",
		Does: "gives an item after its end"},
	{Name: "go_stream_leaks_unread_items", Kind: "stream", Kit: "drop_before_the_end",
		Does: "Drop does not release items that were not read"},
	{Name: "go_stream_leaks_after_its_end", Kind: "stream", Kit: "drop_after_the_end",
		Does: "releases nothing at its end"},
	{Name: "go_stream_survives_a_panic", Kind: "stream", Kit: "a_panic_is_the_end",
		Does: "gives items after it has panicked"},
}

// feed is a stream in Go with an unbounded queue.
type feed struct {
	name                     string
	mu                       sync.Mutex
	kept                     *rawwaker.Waker
	items                    []uint64
	sent                     uint64
	polls                    int
	woken, closed, failing   bool
	ended, dropped, panicked bool
	live                     atomic.Int64 // one for the stream, and one for each item
}

func newFeed(name string) *feed {
	f := &feed{name: name}
	f.live.Store(1)
	return f
}

func (f *feed) is(name string) bool { return f.name == "go_stream_"+name }

func (f *feed) PollNext(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[uint64]] {
	if f.is("drops_the_waker") {
		cx.Waker().Drop()
	}
	var fresh *rawwaker.Waker
	if !f.is("keeps_no_waker") {
		fresh = cx.Waker().Clone()
	}
	f.mu.Lock()
	f.polls++
	unasked := f.polls > 1 && !f.woken
	f.woken = false
	old := f.kept
	p, panics := f.take()
	switch {
	case p.IsReady() || panics:
		f.kept = nil
	case old != nil && f.is("keeps_the_first_waker"):
		old = nil
	default:
		f.kept, fresh = fresh, nil
	}
	f.mu.Unlock()
	if fresh != nil {
		fresh.Drop()
	}
	if old != nil {
		old.Drop()
	}
	switch {
	case unasked && !p.IsReady() && f.is("panics_unasked"):
		panic("unasked")
	case panics:
		panic("broken: no more items")
	}
	return p
}

// take is a poll under the lock.
func (f *feed) take() (p rawwaker.Poll[rawwaker.Item[uint64]], panics bool) {
	item := func(v uint64) rawwaker.Poll[rawwaker.Item[uint64]] {
		return rawwaker.Ready(rawwaker.Item[uint64]{Value: v, Ok: true})
	}
	n := len(f.items)
	switch {
	case n > 0 && f.is("reverses"):
		v := f.items[n-1]
		f.items = f.items[:n-1]
		f.live.Add(-1)
		return item(v), false
	case n > 0:
		v := f.items[0]
		f.items = f.items[1:]
		f.live.Add(-1)
		return item(v), false
	case f.failing && f.panicked && f.is("survives_a_panic"):
		return item(0), false
	case f.failing:
		f.panicked = true
		return p, true
	case f.closed && f.ended && f.is("ends_once"):
		return item(0), false
	case f.closed:
		f.ended = true
		if !f.is("leaks_after_its_end") {
			f.live.Store(0)
		}
		return rawwaker.Ready(rawwaker.Item[uint64]{}), false
	case f.sent > 0 && f.is("repeats_an_item"):
		return item(f.sent - 1), false
	}
	return p, false
}

func (f *feed) Drop() {
	f.mu.Lock()
	old := f.kept
	if !f.is("drop_races_with_wake") {
		f.kept = nil
	}
	f.dropped = true
	if f.polls > 0 || !f.is("leaks_if_never_polled") {
		f.live.Add(-1)
	}
	if !f.is("leaks_unread_items") {
		f.live.Add(-int64(len(f.items)))
		f.items = nil
	}
	f.mu.Unlock()
	if old != nil && !f.is("keeps_its_waker") {
		old.Drop()
	}
}

// change runs set and wakes.
func (f *feed) change(set func(), silent bool) {
	if f.is("wakes_before_the_item") {
		f.mu.Lock()
		w := f.kept
		f.kept = nil
		f.mu.Unlock()
		if w != nil {
			w.WakeByRef()
		}
		f.mu.Lock()
		set()
		f.mu.Unlock()
		if w != nil {
			w.Wake()
		}
		return
	}
	f.mu.Lock()
	set()
	f.woken = true
	w := f.kept
	if f.is("wakes_under_its_lock") {
		defer f.mu.Unlock()
		if f.kept = nil; w != nil {
			w.Wake()
		}
		return
	}
	if !f.is("drop_races_with_wake") && !silent {
		f.kept = nil
	}
	f.mu.Unlock()
	if w == nil || silent {
		return
	}
	if f.is("drop_races_with_wake") {
		// If there is a Drop: the wake comes after it in either order.
		waitFor(50*time.Millisecond, func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.dropped
		})
		w.WakeByRef()
		return
	}
	w.Wake()
}

func (f *feed) subject() wakertest.Stream[uint64] {
	return wakertest.Stream[uint64]{
		Stream: f,
		Send: func() {
			f.change(func() {
				v := f.sent
				if f.sent++; f.dropped || len(f.items) == 2 && f.is("loses_an_item") {
					return
				}
				f.items = append(f.items, v)
				f.live.Add(1)
			}, f.is("never_wakes"))
		},
		End:    func() { f.change(func() { f.closed = true }, f.is("ends_silently")) },
		Fail:   func() { f.change(func() { f.failing = true }, false) },
		IsItem: func(i int, v uint64) bool { return v == uint64(i) },
		Live:   func() int { return int(f.live.Load()) },
	}
}
