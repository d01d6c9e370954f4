package wake

// Rawwaker is what package rawwaker gives the other packages of this module and must not give its
// users: with Bind and End a user's future could end its own task. Package rawwaker sets it in
// init. cx is a *rawwaker.Context and aw a *rawwaker.AtomicWaker, which this package cannot name.
var Rawwaker struct {
	// Bind makes cx the context of c: its waker wakes c's task.
	Bind func(cx any, c *Core)

	// Diagnose has c's target count the wakers that live. Call it before any use of cx.
	Diagnose func(cx any)

	// End ends what Bind began: using the waker through cx panics from now on, and wakes of the
	// task do nothing. It may be left out if the waker has not escaped.
	End func(cx any)

	// NewFuture makes a future of the two words of a future of C, with the checks of FutureFromRaw.
	// t is a nil *T. call is what panics name.
	NewFuture func(call string, t any, data, vtable uintptr) *RawFuture

	// Wake is the Wake of an AtomicWaker, at a place.
	Wake func(aw any, at Place)

	// Take takes the waker out of an AtomicWaker. If waking it can run nothing that a user wrote,
	// it wakes it and returns nil; else it returns what wakes it.
	Take func(aw any) (wake func())
}

// WakeAll wakes the waker in each *rawwaker.AtomicWaker.
//
// A user's waker that blocks, panics or calls Goexit delays the others by a few milliseconds at
// most, and none is lost. If at is [Anywhere], a panic continues here after the others were woken.
// The caller holds no lock.
func WakeAll[W any](all []W, at Place) {
	if at != Anywhere {
		for _, w := range all {
			Rawwaker.Wake(w, at)
		}
		return
	}
	var users []func()
	for _, w := range all {
		if wake := Rawwaker.Take(w); wake != nil {
			users = append(users, wake)
		}
	}
	Each(users, func(wake func()) { wake() })
}
