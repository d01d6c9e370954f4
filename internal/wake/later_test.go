package wake

import (
	"runtime"
	"testing"
)

func TestLaterRunners(t *testing.T) {
	t.Run("runs_all_although_more_calls_end_by_Goexit_than_may_block", func(t *testing.T) {
		for range maxRunners + 1 {
			Later(runtime.Goexit)
		}
		done := make(chan struct{})
		Later(func() { close(done) })
		<-done
	})
	t.Run("runs_a_call_that_comes_long_after_one_that_blocks", func(t *testing.T) {
		blocked, release := make(chan struct{}), make(chan struct{})
		defer close(release)
		Later(func() {
			close(blocked)
			<-release
		})
		<-blocked
		for watched := true; watched; runtime.Gosched() {
			later.mu.Lock()
			watched = later.watched
			later.mu.Unlock()
		}
		done := make(chan struct{})
		Later(func() { close(done) })
		<-done
	})
}

func TestOutside(t *testing.T) {
	t.Run("starts_each_function_without_another_call", func(t *testing.T) {
		for range 3 {
			done := make(chan struct{})
			Outside(func() { close(done) })
			<-done
		}
	})
}
