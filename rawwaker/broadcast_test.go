package rawwaker_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/test/balance"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func TestBroadcast(t *testing.T) {
	balance.Check(t)
	var wakes [3]atomic.Int32
	var wait [3]rawwaker.BroadcastWaiter
	var cxs [3]*rawwaker.Context
	for i := range cxs {
		cxs[i] = rawwaker.NewContext(rawwaker.FromFunc(func() { wakes[i].Add(1) }))
	}
	var b rawwaker.Broadcast
	b.Init()
	enter := func(i int) *rawwaker.Context {
		wait[i].Register(cxs[i].Waker())
		return b.Enter(&wait[i], cxs[i])
	}
	woken := func() (n [3]int32) {
		for i := range n {
			n[i] = wakes[i].Swap(0)
		}
		return n
	}

	inner := enter(0)
	require.NotNil(t, inner, "the first polls")
	require.Nil(t, enter(1), "while another does not")
	w := inner.Waker().Clone()
	w.WakeByRef()
	require.Equal(t, [3]int32{}, woken(), "a wake during the poll waits for its end")
	b.Exit(false)
	require.Equal(t, [3]int32{1, 1, 0}, woken(), "and then wakes all")
	require.NotNil(t, enter(1), "and the first to come polls")
	b.Exit(false)
	require.Nil(t, enter(0), "nothing has woken it since")
	require.Nil(t, enter(2))
	b.Leave(&wait[0])
	w.WakeByRef()
	w.WakeByRef()
	require.Equal(t, [3]int32{0, 1, 1}, woken(), "one that has left is not woken, the others once")
	require.NotNil(t, enter(2))
	require.Nil(t, enter(1))
	b.Exit(true)
	require.Equal(t, [3]int32{0, 1, 1}, woken(), "the end wakes all")
	w.Wake()
	require.Equal(t, [3]int32{}, woken(), "and no wake does after it")
	for i := range wait {
		b.Leave(&wait[i])
	}
}
