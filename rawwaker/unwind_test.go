//go:build cgo

package rawwaker_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/ctest"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// unwinds are the ways in which a callback leaves the C code that has called it.
var unwinds = map[string]func(){"panic": func() { panic("bug") }, "Goexit": runtime.Goexit}

// unwound calls f, which a callback of C is to leave by how, and says whether it did.
func unwound(how func(), f func()) (left bool) {
	ctest.OnCall = how
	defer func() { ctest.OnCall = func() {} }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { recover() }()
		left = true
		f()
		left = false
	}()
	<-done
	return left
}

// A poll of C that a Go panic or Goexit has left leaves the task's box as if it had returned
// PENDING. Before the poll under test the script has had others; "" means that the box is made by
// that poll.
func TestUnwind(t *testing.T) {
	if ctest.ASan {
		t.Skip("the address sanitizer does not know of such unwinds")
	}
	for how, leave := range unwinds {
		for _, c := range []struct{ name, letters string }{
			{"that_kept_nothing", "c"},
			{"that_kept_its_first_waker", "K"},
			{"that_woke_itself", "S"},
			{"in_a_loop_that_has_taken_a_wake", "sc"},
			{"in_a_later_poll", "kc"},
			{"in_a_later_poll_that_kept_its_waker", "kK"},
			{"in_a_later_poll_that_woke_itself", "kS"},
			{"in_a_later_loop_that_has_taken_a_wake", "ksc"},
		} {
			t.Run(c.name+"_by_"+how, func(t *testing.T) {
				balance.Check(t)
				s, after := script(t, c.letters), script(t, "kr")
				f, g := fromScript(s), fromScript(after)
				wakes := c.letters[len(c.letters)-1] == 'S' ||
					c.letters[len(c.letters)-1] == 'c' && len(c.letters) > 1 && c.letters[len(c.letters)-2] == 's'
				ctx, cancel := context.WithTimeout(
					context.Background(),
					time.Minute,
				) // a lost wake fails the test
				defer cancel()
				polls, next := 0, 0
				v, err := blockon.Await(ctx, future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[uint64] {
					polls++
					switch next {
					case 0:
						if c.letters[0] == 'k' {
							require.False(t, f.Poll(cx).IsReady())
						}
						require.True(t, unwound(leave, func() { f.Poll(cx) }))
						next = 1
						if wakes {
							return rawwaker.Pending[uint64]() // the wake that the poll has found is the task's
						}
						if s.Kept() {
							s.Wake() // of C, after the unwind
							return rawwaker.Pending[uint64]()
						}
						fallthrough
					case 1:
						next = 2
						if p := g.Poll(cx); p.IsReady() {
							t.Error("too early")
						}
						go after.Wake()
						return rawwaker.Pending[uint64]()
					}
					return g.Poll(cx)
				}))
				require.NoError(t, err)
				require.Equal(t, uint64(42), v)
				require.Zero(t, s.Drops(), "it is pending")
				f.Drop()
				require.Equal(t, 1, s.Drops())
			})
		}
		for _, under := range []string{"a_task", "NewContext"} {
			t.Run("after_the_end_in_the_drop_slot_under_"+under+"_by_"+how, func(t *testing.T) {
				balance.Check(t)
				for _, letters := range []string{"R", "sR"} {
					s := script(t, letters)
					f := fromScript(s)
					poll := func(cx *rawwaker.Context) {
						require.True(t, unwound(leave, func() {
							for !f.Poll(cx).IsReady() {
							}
						}))
					}
					if under == "a_task" {
						blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[int] {
							poll(cx)
							return rawwaker.Ready(0)
						}))
					} else {
						w := rawwaker.FromFunc(func() {})
						poll(rawwaker.NewContext(w))
						w.Drop()
					}
					f.Drop()
					require.Equal(t, 1, s.Drops(), "its drop slot was called")
					require.PanicsWithValue(
						t,
						"future polled after completion",
						func() { f.Poll(rawwaker.NewContext(rawwaker.Noop())) },
					)
				}
			})
		}
	}
}
