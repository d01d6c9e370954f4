package wakertest

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Stream is a stream under test, with functions that control and observe it. Stream and Send are
// required. To test a C stream, convert it with [rawwaker.StreamFromRaw].
type Stream[T any] struct {
	// Stream is owned by the kit: it polls it, and drops it before its end if it is a
	// [rawwaker.Dropper].
	Stream rawwaker.Stream[T]
	// Send makes one more item available and wakes the stream's waker. It is called on any
	// goroutine, one call at a time, possibly during or after the drop. At most 3 items are sent
	// that were not read.
	Send func()
	// End makes the stream end after the items that were sent, and wakes its waker. It is called at
	// most once, after the last Send, possibly after the drop.
	End func()
	// Fail makes PollNext panic after the items that were sent, and wakes the stream's waker. It is
	// called in place of End.
	Fail func()
	// IsItem reports whether v is what the i-th Send, counted from 0, has made.
	IsItem func(i int, v T) bool
	// Live returns the number of resources that the stream and its unread items hold. It must
	// become 0 after the stream's end or drop: at once, or soon if an engine ends the operation.
	Live func() int
	// Free is called once, when the kit no longer uses the stream.
	Free func()
}

// TestStream checks the streams that make returns against every rule, each in a subtest. What is
// said at [TestFuture] holds here too.
func TestStream[T any](t *testing.T, make func(t testing.TB) Stream[T]) {
	runAll(t, streams[T](), make)
}

// StreamRules returns the rules of [TestStream], in the order of its subtests.
func StreamRules() []Rule { return rules(streams[struct{}]()) }

// nextItem is the future of a stream's first item. It drops the stream when it has it.
type nextItem[T any] struct {
	s rawwaker.Stream[T]
}

// Poll implements [rawwaker.Future].
func (n *nextItem[T]) Poll(cx *rawwaker.Context) rawwaker.Poll[rawwaker.Item[T]] {
	p := n.s.PollNext(cx)
	if p.IsReady() && p.Value().Ok {
		n.Drop()
	}
	return p
}

// Drop implements [rawwaker.Dropper].
func (n *nextItem[T]) Drop() { dropStream(n.s) }

func dropStream[T any](s rawwaker.Stream[T]) {
	if d, ok := s.(rawwaker.Dropper); ok {
		d.Drop()
	}
}

// asFuture returns the future of the first item of s.
func asFuture[T any](r *report, s Stream[T]) Future[rawwaker.Item[T]] {
	return Future[rawwaker.Item[T]]{
		Future:   &nextItem[T]{s: s.Stream},
		Complete: s.Send,
		Live:     soon(r, s.Live, "the stream"),
		Free:     s.Free,
	}
}

// soon returns a Live that waits until it is 0.
func soon(r *report, live func() int, what string) func() int {
	if live == nil {
		return nil
	}
	return func() (got int) {
		r.eventually(func() bool { got = live(); return got == 0 }, func() string {
			return fmt.Sprintf("%s to hold nothing after its end or drop; it holds %d", what, got)
		})
		return got
	}
}

// ofFutures are the rules of futures that hold for the first item of a stream.
var ofFutures = []string{
	"pending_keeps_a_waker", "context_is_borrowed", "wakes_when_it_can_go_on",
	"latest_waker_is_woken", "unasked_poll", "polls_on_any_thread", "drop_before_the_poll",
	"drop_while_pending", "drop_beside_the_wake", "wakes_under_no_lock", "set_before_wake",
}

// polledStream is the Stream of one scenario. Its methods note each call in the report.
type polledStream[T any] struct {
	Stream[T]
	r     *report
	sent  int
	given int
}

func (s *polledStream[T]) send() {
	s.r.did("send")
	s.sent++
	s.Send()
}

// poll polls once. If it gives an item, the item must be the next that was sent.
func (s *polledStream[T]) poll(p *probe) rawwaker.Poll[rawwaker.Item[T]] {
	s.r.did("poll")
	got := s.Stream.Stream.PollNext(rawwaker.NewContext(p.w))
	switch {
	case !got.IsReady():
		s.r.did("is Pending")
	case !got.Value().Ok:
		s.r.did("is at its end")
	default:
		s.r.did("gives an item")
		s.r.expect(s.given < s.sent, "no item that was not sent; %d were", s.sent)
		if s.IsItem != nil {
			s.r.expect(s.IsItem(s.given, got.Value().Value), "item %d; got %v", s.given,
				got.Value().Value)
		}
		s.given++
	}
	return got
}

// next polls after each wake until the stream is ready. It returns false if no wake comes.
func (s *polledStream[T]) next(p *probe) (item rawwaker.Item[T], ok bool) {
	for {
		seen := p.wakes()
		if got := s.poll(p); got.IsReady() {
			return got.Value(), true
		}
		if !p.woken(seen+1, "of a stream that is Pending and can continue") {
			return item, false
		}
	}
}

// readAll reads what was sent. It returns false if not all of it comes.
func (s *polledStream[T]) readAll(p *probe) bool {
	for s.given < s.sent && !s.r.failed() {
		item, ok := s.next(p)
		if !ok || !s.r.expect(item.Ok, "an item: %d were sent, and %d given before the end",
			s.sent, s.given) {
			return false
		}
	}
	return !s.r.failed()
}

func (s *polledStream[T]) drop() {
	s.r.did("drop")
	dropStream(s.Stream.Stream)
}

func (s *polledStream[T]) done(p *probe) {
	if live := soon(s.r, s.Live, "the stream"); live != nil {
		live()
	}
	p.end()
	if s.Free != nil {
		s.Free()
	}
}

// streamScenario returns a scenario that calls run with each kind of waker, as futureScenario does.
func streamScenario[T any](
	name, rule string, run func(r *report, s *polledStream[T], p *probe),
) scenario[Stream[T]] {
	return scenario[Stream[T]]{name, rule, func(r *report, make func() Stream[T]) {
		for _, inC := range []bool{true, false} {
			if r.failed() || inC && !capi.HasCgo {
				continue
			}
			if !inC {
				r.did("with a waker of Go:")
			}
			runtime.LockOSThread()
			p := newProbe(r, inC)
			s := &polledStream[T]{Stream: make(), r: r}
			run(r, s, p)
			s.done(p)
			runtime.UnlockOSThread()
			p.findings()
		}
	}}
}

func streams[T any]() []scenario[Stream[T]] {
	type stream = polledStream[T]
	var all []scenario[Stream[T]]
	for _, f := range futures[rawwaker.Item[T]]() {
		for _, name := range ofFutures {
			if f.name == name {
				rule := strings.ReplaceAll(f.rule, "future", "stream")
				all = append(all, scenario[Stream[T]]{name, rule,
					func(r *report, make func() Stream[T]) {
						f.run(r, func() Future[rawwaker.Item[T]] { return asFuture(r, make()) })
					}})
			}
		}
	}
	// noEnd drops a stream that the kit cannot end.
	noEnd := func(s *stream, f func()) bool {
		if f == nil {
			s.r.skip("no End, or no Fail")
			s.drop()
		}
		return f == nil
	}
	return append(all,
		streamScenario("items_in_order",
			"each item is given once, in the order in which they were sent",
			func(r *report, s *stream, p *probe) {
				for i := range 50 {
					for range 1 + i%3 {
						s.send()
					}
					if !s.readAll(p) {
						break
					}
				}
				if !r.failed() {
					r.expect(!s.poll(p).IsReady(), "Pending, after all items that were sent")
				}
				s.drop()
			}),

		streamScenario("wakes_at_its_end",
			"a stream that returned PENDING wakes when it ends",
			func(r *report, s *stream, p *probe) {
				if noEnd(s, s.End) {
					return
				}
				if s.poll(p).IsReady() {
					s.drop()
					return
				}
				seen := p.wakes()
				r.did("end")
				s.End()
				if !p.woken(seen+1, "of a stream that is Pending and has ended") {
					s.drop()
					return
				}
				item, ok := s.next(p)
				r.expect(ok && !item.Ok, "the end")
			}),

		streamScenario("end_is_repeated",
			"DONE means no more items, now and for all later calls",
			func(r *report, s *stream, p *probe) {
				if noEnd(s, s.End) {
					return
				}
				s.send()
				s.send()
				r.did("end")
				s.End()
				if !s.readAll(p) {
					s.drop()
					return
				}
				for range 4 {
					item, ok := s.next(p)
					if !r.expect(ok && !item.Ok, "the end, each time") {
						return
					}
				}
			}),

		streamScenario("drop_before_the_end",
			"drop called early cancels: it releases what the stream holds, unread items included",
			func(r *report, s *stream, p *probe) {
				for range 3 {
					s.send()
				}
				s.next(p)
				s.drop()
			}),

		streamScenario("drop_after_the_end",
			"drop is called after DONE too, and releases everything",
			func(r *report, s *stream, p *probe) {
				if noEnd(s, s.End) {
					return
				}
				s.poll(p)
				s.send()
				r.did("end")
				s.End()
				if s.readAll(p) {
					s.next(p) // a Go stream that is at its end has released what it held
				} else {
					s.drop()
				}
			}),

		streamScenario("a_panic_is_the_end",
			"poll_next is not called after PANICKED: a stream that has panicked gives nothing more",
			func(r *report, s *stream, p *probe) {
				if noEnd(s, s.Fail) {
					return
				}
				s.send()
				r.did("fail")
				s.Fail()
				if !s.readAll(p) {
					s.drop()
					return
				}
				panics := func() (panicked bool) {
					defer func() {
						if v := recover(); v != nil {
							r.did("panics")
							panicked = true
						}
					}()
					s.next(p)
					return false
				}
				r.expect(panics(), "a panic after the items that were sent")
				if !r.failed() {
					r.expect(panics(), "a poll after a panic to panic")
				}
				s.drop()
			}),
	)
}
