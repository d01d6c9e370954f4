package future

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// rounds runs each over n numbers, and logs those that have begun.
func rounds(n int, do func(i int)) (begun map[int]bool, panicked any) {
	begun = make(map[int]bool)
	var mu sync.Mutex
	i := 0
	pop := func() (int, bool) {
		mu.Lock()
		defer mu.Unlock()
		i++
		return i - 1, i <= n
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() { panicked = recover() }()
		each(pop, func(i int) {
			mu.Lock()
			begun[i] = true
			mu.Unlock()
			do(i)
		})
	}()
	<-ended
	return begun, panicked
}

func TestEach(t *testing.T) {
	for n := range 5 {
		begun, v := rounds(n, func(int) {})
		require.Len(t, begun, n)
		require.Nil(t, v)
		begun, v = rounds(n, func(i int) { panic(i) })
		require.Len(t, begun, n, "goes on after a panic")
		require.Equal(t, n > 0, v != nil)
		begun, v = rounds(n, func(i int) { runtime.Goexit() })
		require.Len(t, begun, n, "goes on after a Goexit")
		require.Nil(t, v)
	}
	for name, run := range map[string]func(t *testing.T, f func(t *testing.T)){
		"outside":  func(t *testing.T, f func(t *testing.T)) { f(t) },
		"a bubble": synctest.Test,
	} {
		t.Run("passes those by that block, "+name, func(t *testing.T) {
			run(t, func(t *testing.T) {
				const n, blocking = 60, 40
				all := make(chan struct{})
				var mu sync.Mutex
				left := n
				begun, v := rounds(n, func(i int) {
					mu.Lock()
					if left--; left == 0 {
						close(all)
					}
					mu.Unlock()
					if i < blocking {
						<-all // none of these returns before the last has begun
					}
					if i%10 == 7 {
						panic("seven")
					}
					if i%10 == 8 {
						runtime.Goexit()
					}
				})
				require.Len(t, begun, n)
				require.Equal(t, "seven", v)
			})
		})
	}
}
