//go:build unix

package wake

import (
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func nothing() bool   { return true }
func something() bool { return false }

func readable(t *testing.T, fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	_, err := unix.Poll(p, 0)
	require.NoError(t, err)
	return p[0].Revents != 0
}

func isOpen(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	return err == nil
}

// inHook returns an inbox that sleeps, whose hook calls the first of meanwhile when it is called
// first, and so on: what others do while a wake is at its second step.
func inHook(t *testing.T, meanwhile ...func()) (in *Inbox, calls *int) {
	in, err := NewInbox()
	require.NoError(t, err)
	t.Cleanup(in.Close)
	calls = new(int)
	in.OnWake(func(Place) {
		*calls++
		if *calls <= len(meanwhile) {
			meanwhile[*calls-1]()
		}
	})
	return in, calls
}

func fd(t *testing.T, in *Inbox) int {
	fd, err := in.FD(nothing)
	require.NoError(t, err)
	return fd
}

func TestInbox(t *testing.T) {
	t.Run("a_wake_that_is_late_ends_no_later_sleep", func(t *testing.T) {
		var in *Inbox
		in, calls := inHook(t, func() { require.True(t, in.Arm(nothing)) })
		in.Take(Anywhere)
		require.True(t, in.Asleep(nothing))
		in.Take(Anywhere)
		require.Equal(t, 2, *calls)
		require.False(t, in.Asleep(nothing))
	})
	t.Run("each_wake_that_sees_the_sleeper_wakes_it", func(t *testing.T) {
		var in *Inbox
		in, calls := inHook(t, func() {
			require.True(t, readable(t, fd(t, in)), "the descriptor is first")
			in.quiet() // as if the first had not come to it
			in.Take(Anywhere)
			require.True(t, readable(t, fd(t, in)))
		})
		fd(t, in)
		in.Take(Anywhere)
		require.Equal(t, 2, *calls)
		in.Take(Anywhere)
		require.Equal(t, 2, *calls, "it is awake")
	})
	t.Run("a_hook_that_panics_leaves_it_asleep", func(t *testing.T) {
		in, calls := inHook(t, func() { panic("bug") })
		require.PanicsWithValue(t, "bug", func() { in.Take(Anywhere) })
		in.Take(Anywhere)
		require.Equal(t, 2, *calls)
	})
	t.Run("the_descriptor_is_readable_while_there_is_something", func(t *testing.T) {
		in, _ := inHook(t)
		fd := fd(t, in)
		require.False(t, readable(t, fd))
		in.Take(Anywhere)
		for range 3 {
			require.False(t, in.Arm(something))
			require.True(t, readable(t, fd))
		}
		require.True(t, in.Arm(nothing))
		require.False(t, readable(t, fd))
		in.Take(Anywhere)
		require.True(t, readable(t, fd))
	})
	t.Run("what_comes_while_it_is_armed_is_not_swallowed", func(t *testing.T) {
		in, _ := inHook(t)
		fd := fd(t, in)
		looks := 0
		require.False(t, in.Arm(func() bool { looks++; return looks == 1 }))
		require.Equal(t, 2, looks)
		require.True(t, readable(t, fd))
		require.False(t, in.Asleep(nothing))
	})
	t.Run(
		"a_late_wake_after_the_descriptor_was_read_leaves_it_asleep_or_readable",
		func(t *testing.T) {
			in, _ := inHook(t)
			fd := fd(t, in)
			looks := 0
			require.True(t, in.Arm(func() bool {
				if looks++; looks == 2 {
					in.Take(Anywhere) // its task was run before
				}
				return true
			}))
			require.True(t, in.Asleep(nothing) || readable(t, fd))
		},
	)
	t.Run("a_descriptor_asked_for_during_a_wake_is_heard_of", func(t *testing.T) {
		var in *Inbox
		in, _ = inHook(t, func() { fd(t, in) }) // the wake has not written
		in.Take(Anywhere)
		fd := fd(t, in)
		require.True(t, in.Asleep(nothing) || readable(t, fd))
		in.Take(Anywhere)
		require.True(t, readable(t, fd))
	})
	t.Run("a_descriptor_asked_for_while_there_is_something_is_readable", func(t *testing.T) {
		in, _ := inHook(t)
		fd, err := in.FD(something)
		require.NoError(t, err)
		require.True(t, readable(t, fd))
	})
}

func TestInboxClose(t *testing.T) {
	t.Run("inside_a_hook", func(t *testing.T) {
		var in *Inbox
		var number int
		in, calls := inHook(t, func() {
			in.Close()
			require.False(t, isOpen(number), "a hook that lasts keeps no descriptor")
		})
		number = fd(t, in)
		in.Take(Anywhere)
		in.Take(Anywhere)
		require.Equal(t, 1, *calls)
	})
}

func TestHookTarget(t *testing.T) {
	t.Run("is_dropped_once_after_the_last_call", func(t *testing.T) {
		for range 200 {
			var mu sync.Mutex
			inside, drops, dropped := 0, 0, make(chan struct{})
			target := &hookTarget{drop: func() {
				mu.Lock()
				defer mu.Unlock()
				if drops++; inside != 0 {
					t.Error("dropped during a call")
				}
				close(dropped)
			}}
			count := func(n int) { mu.Lock(); inside += n; mu.Unlock() }
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for range 3 {
						if target.enter() {
							count(1)
							count(-1)
						}
						target.leave(Dispatcher)
					}
				})
			}
			for range 2 {
				wg.Go(func() { target.close(Anywhere) })
			}
			wg.Wait()
			<-dropped
			require.False(t, target.enter())
			target.leave(Dispatcher)
			require.Equal(t, 1, drops)
		}
	})
	t.Run("is_dropped_by_no_wake", func(t *testing.T) {
		inside, dropped := true, make(chan bool)
		target := &hookTarget{drop: func() { dropped <- inside }}
		require.True(t, target.enter())
		target.close(Anywhere) // returns: it is not dropped now
		inside = false
		target.leave(Dispatcher) // returns, although no goroutine receives
		require.False(t, <-dropped)
	})
}

// Each sleep has a number of its own, also if the host arms the inbox while another goroutine
// sets a hook.
func TestInboxNumbers(t *testing.T) {
	in := new(Inbox)
	var numbers [2][1000]uint32
	var wg sync.WaitGroup
	for i := range numbers {
		wg.Go(func() {
			for j := range numbers[i] {
				numbers[i][j] = in.next()
			}
		})
	}
	wg.Wait()
	given := map[uint32]bool{}
	for _, each := range numbers {
		for _, n := range each {
			require.False(t, given[n])
			given[n] = true
		}
	}
	in.sleeps.Store(math.MaxUint32)
	require.EqualValues(t, 1, in.next()) // 0 says that the host is awake
}
