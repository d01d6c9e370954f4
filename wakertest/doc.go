// Package wakertest checks any waker, future, stream or executor against the contract of
// rawwaker.h.
//
// [TestWaker], [TestFuture], [TestStream] and [TestExecutor] run one subtest for each rule, as
// testing/fstest does for file systems:
//
//	func TestMyWaker(t *testing.T) {
//		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
//			task := newTask()
//			return wakertest.Waker{Raw: task.Waker(), Wakes: task.Scheduled, Poll: task.Poll}
//		})
//	}
//
// A subtest that fails reports the rule, what was expected, and the calls in order. If a function
// that a rule needs is nil, its subtest is skipped. A call that does not return within [Patience]
// fails the subtest; its goroutine stays blocked. A call that ends the process ends the test
// binary.
//
// Run the tests under -race too: on a machine with strong memory order, only the detector finds
// that a wake does not publish the writes before it. It does not see C code. For wakers written in
// C, run the same kit in C, wakertest/c, under ThreadSanitizer. The scenarios of both kits have the
// same names. The kit in C has none for streams.
//
// # Audit
//
// [Audit], [AuditFuture] and [AuditStream] wrap one waker, future or stream and report each call that
// breaks a rule: a double drop, a use after drop, a leak, a slot called under a [Mutex], PENDING without a waker.
// FFIWAKERDEBUG=audit=1 in the environment wraps everything that crosses. Misuse is printed when it
// happens; a lost Go handle is reported when the collector finds it. The auditor cannot know which
// references C still needs. State the point at which all should be gone: by [Check] in a test, or
// by defer wakertest.Report(os.Stderr) in main.
//
// # What this kit does not find
//
// A future that tests its condition before it registers the waker: the kit in C finds it, because
// it completes the future inside the clone (clones_under_no_lock).
//
// A C future that wakes before it sets its condition: a wake from C is delivered to Go later, when
// the condition may be set. The kit in C polls inside the wake (set_before_wake).
//
// The kit is modelled on testing/fstest and golang.org/x/net/nettest; the rules are those of Rust's
// RawWakerVTable and Future::poll.
package wakertest
