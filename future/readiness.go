//go:build unix

package future

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Readable is ready when something can be read from conn without blocking, its end and an error included. The error is that of a
// connection that was closed. To get conn: [net.TCPConn.SyscallConn], [os.File.SyscallConn] and the like; what a descriptor of C's
// wants is os.NewFile of a dup that is non-blocking.
//
// From the first poll that finds nothing to read, all Readables of a descriptor cost one goroutine, asleep in Go's netpoller, and no thread. Drop
// lets go of that goroutine, which stays until conn is readable or closed: the next Readable of conn shares it again. In a testing/synctest
// bubble each has a goroutine of its starter.
func Readable(conn syscall.RawConn) rawwaker.Future[error] {
	panicIfNil("Readable", conn == nil, "connection")
	return &readiness{conn: conn, events: unix.POLLIN, wait: syscall.RawConn.Read}
}

// Writable is the same for writing.
func Writable(conn syscall.RawConn) rawwaker.Future[error] {
	panicIfNil("Writable", conn == nil, "connection")
	return &readiness{conn: conn, events: unix.POLLOUT, wait: syscall.RawConn.Write}
}

type readiness struct {
	conn   syscall.RawConn
	events int16
	wait   func(conn syscall.RawConn, f func(fd uintptr) bool) error
	waker  AtomicWaker

	watch   *watch // that it waits for
	starter bool   // it has started that
	private bool   // another's has failed, perhaps of another connection: the next is its starter
	done    bool

	prev, next *readiness // of the watch's list, under watches.mu
}

// watch is a goroutine that waits for one event of a descriptor. While it does, the descriptor's number is in use, so no other
// connection has that number.
type watch struct {
	key   event
	first *readiness // that wait for it
	ended bool

	// Written before ended is set.
	err    error
	ending ending
}

type event struct {
	fd     uintptr
	events int16
}

// watches has one for each event that is waited for, so that waits that are given up leave one goroutine, and one operation in the
// connection's lock, which panics beyond 2^20 of them.
var watches struct {
	mu  sync.Mutex
	all map[event]*watch
}

func (f *readiness) Poll(cx *rawwaker.Context) rawwaker.Poll[error] {
	if f.done {
		panic(polledAfterCompletion)
	}
	f.waker.Register(cx.Waker()) // before anything is looked at
	if w := f.watch; w != nil {
		watches.mu.Lock()
		ended := w.ended
		watches.mu.Unlock()
		if !ended {
			return rawwaker.Pending[error]()
		}
		starter := f.starter
		f.watch = nil
		if starter {
			f.Drop()
			w.ending.propagate()
			return rawwaker.Ready(w.err)
		}
		// It may have ended when conn was opened under the number of the one that it was for: what it says is only a hint.
		f.private = w.err != nil || !w.ending.returned
	}
	ready := false
	err := f.conn.Control(func(fd uintptr) {
		if ready = f.isReady(fd); !ready {
			f.joinWatch(fd)
		}
	})
	if err == nil && !ready {
		return rawwaker.Pending[error]()
	}
	f.Drop()
	return rawwaker.Ready(err)
}

// ready asks again each time: the netpoller tells of what has come since it told last, not of what is there.
func (f *readiness) isReady(fd uintptr) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: f.events}}, 0)
		if err != unix.EINTR {
			return n != 0
		}
	}
}

// joinWatch waits for the descriptor's watch, and starts it where there is none.
func (f *readiness) joinWatch(fd uintptr) {
	key := event{fd, f.events}
	private := f.private || inBubble()
	watches.mu.Lock()
	defer watches.mu.Unlock()
	w := watches.all[key]
	if f.starter = private || w == nil; f.starter {
		w = &watch{key: key}
		if !private {
			if watches.all == nil {
				watches.all = make(map[event]*watch)
			}
			watches.all[key] = w
		}
		go w.run(f.conn, f.wait, f.isReady)
	}
	f.watch = w
	if f.next = w.first; f.next != nil {
		f.next.prev = f
	}
	w.first = f
}

func (w *watch) run(conn syscall.RawConn, wait func(syscall.RawConn, func(uintptr) bool) error, ready func(uintptr) bool) {
	defer func() {
		w.ending.record(recover())
		watches.mu.Lock()
		w.ended = true
		if watches.all[w.key] == w {
			delete(watches.all, w.key)
		}
		var all []*AtomicWaker
		for f := w.first; f != nil; f = w.first {
			all = append(all, &f.waker)
			w.remove(f)
		}
		watches.mu.Unlock()
		wake.Each(all, (*AtomicWaker).Wake)
	}()
	w.err = wait(conn, ready)
	w.ending.returned = true
}

// remove takes f off the list, if it is there. watches.mu is held.
func (w *watch) remove(f *readiness) {
	switch {
	case f.prev != nil:
		f.prev.next = f.next
	case w.first == f:
		w.first = f.next
	default:
		return
	}
	if f.next != nil {
		f.next.prev = f.prev
	}
	f.prev, f.next = nil, nil
}

// Drop implements [rawwaker.Dropper].
func (f *readiness) Drop() {
	f.done = true
	if w := f.watch; w != nil {
		f.watch = nil
		watches.mu.Lock()
		w.remove(f)
		watches.mu.Unlock()
	}
	f.waker.Drop()
}
