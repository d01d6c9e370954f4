// Package wakertest holds anybody's waker, future or executor to the contract of rawwaker.h.
//
// [TestWaker], [TestFuture] and [TestExecutor] run one named subtest for each rule, as testing/fstest does for file systems:
//
//	func TestMyWaker(t *testing.T) {
//		wakertest.TestWaker(t, func(testing.TB) wakertest.Waker {
//			task := newTask()
//			return wakertest.Waker{Raw: task.Waker(), Wakes: task.Scheduled, Poll: task.Poll}
//		})
//	}
//
// A subtest that fails says the rule, what was expected, and the calls in order. What the subject cannot tell (a function left
// nil) is skipped by name. A call that does not come back within [Patience] fails the subtest, and its goroutine is left
// behind; one that ends the program ends the test binary, as it would end your program. Run them under -race too: what a wake
// publishes no test can see otherwise, on a machine that orders memory strongly. Of wakers of C the detector sees nothing; for
// those is the same kit in C, wakertest/c, to be run under ThreadSanitizer. Scenarios of both kits have the same names.
//
// [Audit] and [AuditFuture] wrap one waker or future and report who breaks a rule with it: a double drop, a use after drop, a
// leak, a slot called under a [Mutex], PENDING without a waker. FFIWAKERDEBUG=audit=1 in the environment wraps all that crosses. Misuse is
// printed when it happens, and a handle of Go's that was lost when the collector finds it. What C keeps and never ends, nobody can tell
// from what it still needs: say when all should be gone, by [Check] in a test, or by defer wakertest.Report(os.Stderr) in main.
//
// Not seen here: a future that tests its condition before it registers the waker. The kit in C finds it, by completing the future inside
// the clone (clones_under_no_lock), and so do the detectors, sometimes. A future of C that wakes before it sets its condition: here its wake arrives
// in Go a little later, and the condition may be set by then; the kit in C holds the wake itself (set_before_wake).
//
// The idea of such a kit is that of testing/fstest and golang.org/x/net/nettest; the rules are those of Rust's RawWakerVTable and
// Future::poll.
package wakertest
