//go:build cgo

package wake

import (
	"sync/atomic"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
)

// The process's sink. Neither it nor its descriptor is ever closed: wakes may come for as long as C
// has threads.
var (
	sink    *capi.Sink
	sinkErr error
)

// The dispatcher starts here, outside any testing/synctest bubble: one goroutine and one descriptor
// for each process.
func init() {
	if sinkErr = probe(4); sinkErr != nil {
		return
	}
	if sink, sinkErr = capi.NewSink(capi.SinkForever); sinkErr == nil {
		go dispatch(watch(sink)) // watch is called here, so that the netpoller takes its descriptors now
	}
}

// probe reports whether n descriptors can be had: the sink needs one, and Go's netpoller two, which
// ends the process if it cannot have them.
func probe(n int) error {
	if n == 0 {
		return nil
	}
	s, err := capi.NewSink(0)
	if err != nil {
		return err
	}
	defer s.Drop()
	return probe(n - 1)
}

// processSink panics if there were no descriptors for it.
func processSink() *capi.Sink {
	if sinkErr != nil {
		panic("rawwaker: " + sinkErr.Error())
	}
	return sink
}

// dispatch delivers the wakes of C to Go. sleep waits until the sink's descriptor is readable.
func dispatch(sleep func()) {
	var notices [256]capi.Notice
	left := sink.Reaper()
	for {
		drain(sink, notices[:], Dispatcher)
		if atomic.LoadUintptr(left) != 0 {
			go capi.Reap() // runs foreign slots, which may block
		}
		if sink.Sleep() {
			sleep()
			atomic.StoreUint32(sink.Sleeping, 0) // no wake needs to write before the next sleep
		}
	}
}

// drain reads a sink until it is empty, and wakes the cores that it finds.
func drain(sink *capi.Sink, notices []capi.Notice, at Place) {
	var list uintptr
	for {
		n := sink.Read(&list, notices)
		if n == 0 {
			return
		}
		for _, notice := range notices[:n] {
			c := coreOf(notice.ID)
			if c == nil {
				continue // it has ended since, or was collected
			}
			if Tracing() && notice.Woken != 0 {
				c.Trace("delivered")
			}
			switch {
			case notice.Woken == 0:
			case c.user:
				c.Schedule(at)
			default:
				c.WakeAt(at)
			}
			if notice.Last != 0 {
				c.retire(notice.ID)
			}
		}
	}
}
