package wakertest_test

import (
	"sync/atomic"
	"testing"

	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// A task of an executor of your own. Its wakes coalesce in a flag.
type myTask struct {
	scheduled atomic.Bool
	due       atomic.Int64 // polls that found the flag set
}

func newTask() *myTask { return new(myTask) }

// Wake implements [rawwaker.Wake]. It must read and write the flag in one step: after a Store by a
// second wake, the poll would not see the writes before the first one. Under -race, the kit reports
// that (wakes_publish).
func (t *myTask) Wake() { t.scheduled.Swap(true) }

func (t *myTask) poll(during func()) {
	if t.scheduled.Swap(false) { // before the poll: a wake during it sets the flag again
		t.due.Add(1)
	}
	if during != nil {
		during()
	}
}

// subject returns the task's waker, and functions by which the kit observes the task.
func (t *myTask) subject() wakertest.Waker {
	return wakertest.Waker{
		Handle: rawwaker.FromWake(t),
		Poll:   t.poll,
		Wakes: func() int {
			wakes := int(t.due.Load())
			if t.scheduled.Load() {
				wakes++
			}
			return wakes
		},
	}
}

// Checks the waker of a task of your own: this is the body of func TestMyTask(t *testing.T).
func ExampleTestWaker() {
	var t *testing.T
	wakertest.TestWaker(t, func(testing.TB) wakertest.Waker { return newTask().subject() })
}
