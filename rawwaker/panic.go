package rawwaker

import "fmt"

// PolledAfterCompletion is what a poll after Ready panics with, in each future of this module. Use
// it in futures of your own.
const PolledAfterCompletion = "future polled after completion"

// PanicError is the error of a future whose Poll or Drop panicked or called [runtime.Goexit], if it
// was polled by a task, or under CatchPanic or Shared.
type PanicError struct {
	Value any    // what it panicked with; nil: it called runtime.Goexit
	Stack []byte // of the panicking call
}

func (e *PanicError) Error() string {
	if e.Value == nil {
		return "rawwaker: a future called runtime.Goexit"
	}
	return fmt.Sprintf("rawwaker: a future panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the error that the future panicked with, or nil if that was no error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
