//go:build cgo

package rawwaker_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// feed is a C stream that must have been dropped exactly once when the test ends.
func feed(t *testing.T, letters string, owned bool) *ctest.Feed {
	balance.Check(t)
	f := ctest.NewFeed(letters, owned)
	t.Cleanup(func() {
		end := time.Now().Add(time.Minute)
		for f.Drops() == 0 && time.Now().Before(end) {
			runtime.GC() // a forgotten one is the collector's
		}
		require.Equal(t, 1, f.Drops())
		f.Free()
	})
	return f
}

// numbers is a stream that reads one item at a time, texts one that reads ahead.
func numbers(f *ctest.Feed) rawwaker.Stream[uint64] {
	return rawwaker.StreamFromRaw[uint64](f.Raw())
}

func texts(f *ctest.Feed) rawwaker.Stream[string] {
	return rawwaker.StreamFromRawFunc(f.Raw(), (*ctest.Reply).Take)
}

// next polls once under a waker that does nothing, and says what came of it.
func next[T any](s rawwaker.Stream[T]) (got string) {
	defer func() {
		if v := recover(); v != nil {
			got = fmt.Sprint(v)
		}
	}()
	p := s.PollNext(rawwaker.NewContext(rawwaker.Noop()))
	switch {
	case !p.IsReady():
		return "pending"
	case !p.Value().Ok:
		return "end"
	}
	return fmt.Sprint(p.Value().Value)
}

// each calls next until the end, or until the second panic.
func each[T any](s rawwaker.Stream[T]) string {
	for all := []string(nil); ; {
		all = append(all, next(s))
		if last := all[len(all)-1]; last == "end" || last == afterEnd {
			if again := next(s); again != last {
				all = append(all, again)
			}
			return strings.Join(all, ", ")
		}
	}
}

// pollEach is next for a future, such as that of a ForEach. It may be called on any goroutine.
func pollEach[T any](f rawwaker.Future[T]) (got string) {
	defer func() {
		if v := recover(); v != nil {
			got = fmt.Sprint(v)
		}
	}()
	if f.Poll(rawwaker.NewContext(rawwaker.Noop())).IsReady() {
		return "end"
	}
	return "pending"
}

func drop[T any](s rawwaker.Stream[T]) { s.(rawwaker.Dropper).Drop() }

const afterEnd = rawwaker.PolledAfterCompletion

func TestCStream(t *testing.T) {
	const code9 = "rawwaker: slot poll_next of a C stream returned 9, which is not a rawwaker_poll"
	for letters, want := range map[string]struct{ one, ahead string }{
		"d":       {one: "end"},
		"iiid":    {one: "1, 2, 3, end"},
		"p":       {one: "rawwaker: a C future panicked: why not, " + afterEnd},
		"iip":     {one: "1, 2, rawwaker: a C future panicked: why not, " + afterEnd},
		"i9":      {one: "1, " + code9 + ", " + afterEnd},
		".id":     {one: "pending, 1, end"},
		"i.i.iid": {"1, pending, 2, pending, 3, 4, end", "1, 2, 3, 4, end"},
		"ii.sip": {
			"1, 2, pending, pending, 3, rawwaker: a C future panicked: why not, " + afterEnd,
			"1, 2, pending, 3, rawwaker: a C future panicked: why not, " + afterEnd,
		},
	} {
		t.Run("gives_"+letters+"_in_order", func(t *testing.T) {
			replies(t)
			if want.ahead == "" {
				want.ahead = want.one
			}
			one, ahead := feed(t, letters, false), feed(t, letters, true)
			a, b := numbers(one), texts(ahead)
			require.Equal(t, want.one, each(a))
			require.Equal(t, want.ahead, each(b))
			require.Equal(t, 1, one.Drops(), "the poll that ends it drops it")
			require.Equal(t, 1, ahead.Drops())
			require.Equal(t, len(letters), one.Polls())
			drop(a)
			drop(b)
			last := want.one[strings.LastIndex(want.one, ", ")+1:]
			require.Equal(t, strings.TrimSpace(last), next(a), "also after a Drop")
			require.Equal(t, strings.TrimSpace(last), next(b))
		})
	}
	t.Run("reads_up_to_64_items_in_one_crossing", func(t *testing.T) {
		replies(t)
		f := feed(t, strings.Repeat("i", 130)+"d", true)
		s := texts(f)
		polls := ""
		for i := 1; i <= 130; i++ {
			require.Equal(t, fmt.Sprint(i), next(s))
			if i == 1 || i == 64 || i == 65 || i == 128 || i == 129 {
				polls += fmt.Sprint(" ", f.Polls())
			}
		}
		require.Equal(t, " 64 64 128 128 131", polls)
		require.Equal(t, "end", next(s))
	})
	t.Run("under_ForEach_gives_all_in_order", func(t *testing.T) {
		for letters, want := range map[string]string{
			"d":        "end",
			"iiid":     "1 2 3 end",
			"ii.i.sid": "1 2 3 pending 4 end",
			"iip":      "1 2 rawwaker: a C future panicked: why not",
		} {
			replies(t)
			log := ""
			f := future.ForEach(texts(feed(t, letters, true)), func(v string) { log += v + " " })
			for ended := false; !ended; {
				got := pollEach(f)
				ended = got != "pending"
				log += got + " "
			}
			require.Equal(t, want, strings.TrimSpace(log), letters)
		}
	})
	t.Run("under_ForEach_gives_64_in_a_poll", func(t *testing.T) {
		replies(t)
		n := 0
		f := future.ForEach(texts(feed(t, strings.Repeat("i", 130)+"d", true)), func(string) { n++ })
		counts := ""
		for ended := false; !ended; counts += fmt.Sprint(n, " ") {
			ended = pollEach(f) == "end"
		}
		require.Equal(t, "64 128 130 ", counts)
	})
	t.Run("under_ForEach_continues_after_a_value_whose_function_panicked", func(t *testing.T) {
		replies(t)
		log := ""
		f := future.ForEach(texts(feed(t, "iiid", true)), func(v string) {
			if log += v; v == "2" {
				panic("boom")
			}
		})
		require.Equal(t, "boom", pollEach(f))
		require.Equal(t, "end", pollEach(f))
		require.Equal(t, "123", log)
	})
	t.Run("under_ForEach_gives_none_after_Drop", func(t *testing.T) {
		replies(t)
		log := ""
		s := texts(feed(t, "iiid", true))
		f := future.ForEach(s, func(v string) {
			if log += v; v == "2" {
				drop(s)
			}
		})
		require.Equal(t, "rawwaker: PollNext of a CStream after Drop", pollEach(f))
		require.Equal(t, "12", log)
	})
	t.Run("under_ForEach_keeps_no_value_that_it_gave", func(t *testing.T) {
		replies(t)
		var given []weak.Pointer[string]
		kept := ""
		s := rawwaker.StreamFromRawFunc(feed(t, "iii..d", true).Raw(), func(r *ctest.Reply) *string {
			v := new(string)
			*v = r.Take()
			return v
		})
		f := future.ForEach(s, func(v *string) {
			runtime.GC()
			for _, old := range given {
				if old.Value() != nil {
					kept += *old.Value()
				}
			}
			given = append(given, weak.Make(v))
		})
		require.Equal(t, "pending", pollEach(f))
		runtime.GC()
		for _, old := range given {
			require.Nil(t, old.Value())
		}
		require.Len(t, given, 3)
		require.Equal(t, "", kept)
		require.Equal(t, "end", pollEach(f))
	})
	t.Run("reads_one_item_at_a_time_without_take", func(t *testing.T) {
		f := feed(t, "iid", false)
		s := numbers(f)
		require.Equal(t, "1", next(s))
		require.Equal(t, 1, f.Polls())
		drop(s)
		require.Equal(t, "rawwaker: PollNext of a CStream after Drop", next(s))
	})
	t.Run("reads_fewer_large_items_in_one_crossing", func(t *testing.T) {
		type large struct {
			n uint64
			_ [1 << 20]byte
		}
		f := feed(t, "iid", false)
		s := rawwaker.StreamFromRawFunc(f.Raw(), func(c *large) uint64 { return c.n })
		require.Equal(t, "1", next(s))
		require.Equal(t, 1, f.Polls())
		require.Equal(t, "2, end", each(s))
	})
	t.Run("gives_C_memory_that_is_aligned_for_any_type_of_an_items_size", func(t *testing.T) {
		most := uintptr(64)
		if runtime.GOOS == "windows" {
			most = 16 // its free takes no memory that is aligned for more
		}
		s := rawwaker.StreamFromRawFunc(feed(t, "iid", false).Raw(), func(c *[3 * 64]byte) uintptr {
			return uintptr(unsafe.Pointer(c)) % most
		})
		require.Equal(t, "0, 0, end", each(s))
	})
	t.Run("of_empty_items_gives_take_an_address", func(t *testing.T) {
		s := rawwaker.StreamFromRawFunc(feed(t, "iid", false).Raw(), func(c *struct{}) bool {
			return c != nil
		})
		require.Equal(t, "true", next(s))
		require.Equal(t, "true, end", each[bool](s))
	})
	t.Run("dropped_with_items_that_were_taken_gives_no_more", func(t *testing.T) {
		for _, letters := range []string{"iii.", "iiid", "iiip"} {
			replies(t)
			f := feed(t, letters, true)
			s := texts(f)
			require.Equal(t, "1", next(s))
			drop(s)
			require.Equal(t, 1, f.Drops())
			require.Equal(t, "rawwaker: PollNext of a CStream after Drop", next(s))
			drop(s)
		}
	})
	t.Run("that_is_forgotten_is_dropped_by_the_collector", func(t *testing.T) {
		replies(t)
		numbers(feed(t, "i", false))
		next(texts(feed(t, "iii.", true)))
	})
	t.Run("is_polled_again_after_each_wake", func(t *testing.T) {
		for _, letters := range []string{"titid", "sisid", "itsiid", "ststd", "kid"} {
			replies(t)
			want := strings.Count(letters, "i")
			for _, owned := range []bool{false, true} {
				f := feed(t, letters, owned)
				var s rawwaker.Stream[string]
				if owned {
					s = texts(f)
				} else {
					s = future.MapStream(numbers(f), func(n uint64) string { return fmt.Sprint(n) })
				}
				all := future.Collect(s)
				got := blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[[]string] {
					p := all.Poll(cx)
					if !p.IsReady() && f.Polls() == 1 && letters[0] == 'k' {
						f.Wake()
					}
					return p
				}))
				require.Len(t, got, want)
				for i, v := range got {
					require.Equal(t, fmt.Sprint(i+1), v)
				}
			}
		}
	})
	// The wake comes in the poll_next that is pending, after items were read in the same crossing.
	t.Run("reports_a_wake_in_a_poll_that_gave_items", func(t *testing.T) {
		for _, letters := range []string{"iis", "iit"} {
			replies(t)
			f := feed(t, letters+"d", true)
			s := texts(f)
			wakes := 0
			w := rawwaker.FromFunc(func() { wakes++ })
			blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
				wakes++
				if wakes == 1 {
					require.True(t, s.PollNext(cx).IsReady())
					return rawwaker.Pending[int]() // for good, if that wake is lost
				}
				return rawwaker.Ready(0)
			}))
			w.Drop()
			require.Equal(t, "2, end", each(s))
		}
	})
	for how, leave := range unwinds {
		for _, at := range []uint64{1, 2, 5} {
			t.Run(fmt.Sprintf("ends_before_item_%d_if_its_take_is_left_by_%s", at, how), func(t *testing.T) {
				replies(t) // those behind it, too, are taken
				for _, letters := range []string{"iiiii.", "iiiiid", "iiiiip"} {
					f := feed(t, letters, true)
					takes := uint64(0)
					s := rawwaker.StreamFromRawFunc(f.Raw(), func(r *ctest.Reply) string {
						v := r.Take()
						if takes++; takes == at {
							leave()
						}
						return v
					})
					want := ""
					for i := range at - 1 {
						want += fmt.Sprint(i+1) + ", "
					}
					isPanic := how == "panic"
					if at == 1 || !isPanic { // it is left in the poll itself
						require.True(t, left(func() { s.PollNext(rawwaker.NewContext(rawwaker.Noop())) }))
						require.Equal(t, want+afterEnd, each(s))
					} else {
						require.Equal(t, want+"bug, "+afterEnd, each(s))
					}
					require.EqualValues(t, 5, takes)
					require.Equal(t, 1, f.Drops(), "at once")
					drop(s)
				}
			})
		}
		if ctest.ASan {
			continue
		}
		t.Run("keeps_what_it_read_if_a_callback_leaves_the_poll_by_"+how, func(t *testing.T) {
			for _, under := range []string{"a_task", "NewContext"} {
				replies(t)
				f := feed(t, "iicid", true)
				s := texts(f)
				if under == "a_task" {
					blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
						require.True(t, unwound(leave, func() { s.PollNext(cx) }))
						return rawwaker.Ready(0)
					}))
				} else {
					require.True(t, unwound(leave, func() {
						s.PollNext(rawwaker.NewContext(rawwaker.Noop()))
					}))
				}
				require.Zero(t, f.Drops(), "it is pending")
				require.Equal(t, "1, 2, 3, end", each(s))
			}
		})
		t.Run("has_ended_if_a_callback_leaves_the_drop_slot_by_"+how, func(t *testing.T) {
			replies(t)
			f := feed(t, "iiD", true)
			s := texts(f)
			require.True(t, unwound(leave, func() { s.PollNext(rawwaker.NewContext(rawwaker.Noop())) }))
			require.Equal(t, "1, 2, end", each(s))
			drop(s)
		})
	}
	t.Run("panics_for_what_it_cannot_be_made_of", func(t *testing.T) {
		take := func(*uint64) int { return 0 }
		for want, raw := range map[string]rawwaker.RawStream{
			"of a nil vtable":                          {},
			"of a vtable with an empty slot poll_next": ctest.HoledStream(0),
			"of a vtable with an empty slot drop":      ctest.HoledStream(1),
		} {
			require.PanicsWithValue(t, "rawwaker: StreamFromRaw "+want, func() {
				rawwaker.StreamFromRaw[int](raw)
			})
			require.PanicsWithValue(t, "rawwaker: StreamFromRawFunc "+want, func() {
				rawwaker.StreamFromRawFunc(raw, take)
			})
		}
		f := feed(t, "", false)
		require.PanicsWithValue(t, "rawwaker: StreamFromRawFunc of a nil function", func() {
			rawwaker.StreamFromRawFunc[int, int](f.Raw(), nil)
		})
		require.PanicsWithValue(t,
			"rawwaker: StreamFromRaw of string, which has Go pointers: C cannot write those",
			func() { rawwaker.StreamFromRaw[string](f.Raw()) })
		s := numbers(f)
		drop(s)
		drop(s)
		require.Equal(t, "rawwaker: PollNext of a CStream after Drop", next(s))
	})
	t.Run("is_one_in_two_words_of_C_memory", func(t *testing.T) {
		f := feed(t, "id", false)
		at, free := ctest.TwoWords()
		defer free()
		f.Raw().Put(at)
		require.Equal(t, f.Raw(), rawwaker.RawStreamAt(at))
		require.Equal(t, "1, end", each(rawwaker.Stream[uint64](
			rawwaker.StreamFromRaw[uint64](rawwaker.RawStreamAt(at)))))
	})
	// A task that reads is aborted at any moment.
	t.Run("frees_each_item_once_in_a_storm_of_aborts", func(t *testing.T) {
		replies(t)
		rounds := 2000
		if testing.Short() || wake.FreshContexts {
			rounds = 100
		}
		ex := executor.New()
		defer ex.Close()
		for i := range rounds {
			f := ctest.NewFeed(strings.Repeat("iiti", 1+i%40)+"d", true)
			h := executor.Spawn(ex, future.Collect(texts(f)))
			for range i % 50 {
				runtime.Gosched()
			}
			h.Abort()
			if r := blockon.BlockOn(h.Outcome()); r.Err == nil {
				require.Len(t, r.Value, 3*(1+i%40))
			} else {
				require.ErrorIs(t, r.Err, executor.ErrAborted)
			}
			require.Equal(t, 1, f.Drops())
			f.Free()
		}
	})
}
