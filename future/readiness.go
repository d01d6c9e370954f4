//go:build unix

package future

import (
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/seed-8a1b3254/ffiwaker/internal/wake"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// Readable returns a future that is ready when a read of conn does not block: there is data, the
// end of the stream, or an error. It does not read. It fails if conn was closed.
//
// conn is what [net.TCPConn.SyscallConn], [os.File.SyscallConn] and the like return. For a
// descriptor made by C, call os.NewFile with a duplicate of it that is non-blocking. Readable
// panics if conn is nil.
//
// All pending Readables of a descriptor share one goroutine, asleep in Go's netpoller, and no
// thread. It ends when conn is readable or closed, also if the Readables were dropped; later ones
// share it. In a testing/synctest bubble each has a goroutine of its own.
//
// It is available on Unix only.
func Readable(conn syscall.RawConn) rawwaker.Future[error] {
	panicIfNil("Readable", conn == nil, "connection")
	return &readiness{conn: conn, events: unix.POLLIN, wait: syscall.RawConn.Read}
}

// Writable returns a future that is ready when a write to conn does not block. In all else it is
// like [Readable].
func Writable(conn syscall.RawConn) rawwaker.Future[error] {
	panicIfNil("Writable", conn == nil, "connection")
	return &readiness{conn: conn, events: unix.POLLOUT, wait: syscall.RawConn.Write}
}

type readiness struct {
	conn   syscall.RawConn
	events int16
	wait   func(conn syscall.RawConn, f func(fd uintptr) bool) error
	waker  AtomicWaker

	watch   *watch // what it waits for
	starter bool   // it started watch
	private bool   // it shares no watch: one that it shared failed, perhaps for another connection
	done    bool

	prev, next *readiness // of watch's list, under watches.mu
}

// watch is a goroutine that waits for one event of a descriptor. While it waits, the number of the
// descriptor is in use, so no other connection has it.
type watch struct {
	key   event
	first *readiness // a list of those that wait for it
	ended bool

	// Written before ended is set, read after it was seen.
	err    error
	ending ending
}

type event struct {
	fd     uintptr
	events int16
}

// watches has one watch for each event that is waited for. So waits that were dropped leave one
// goroutine, not one each, and hold the connection's lock once; it panics beyond 2^20 times.
var watches struct {
	mu  sync.Mutex
	all map[event]*watch
}

func (f *readiness) Poll(cx *rawwaker.Context) rawwaker.Poll[error] {
	if f.done {
		panic(polledAfterCompletion)
	}
	f.waker.Register(cx.Waker()) // before ended and the descriptor are checked
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
		// The watch may have been for an earlier connection with the same number, so its end is
		// only a hint.
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

// isReady polls the descriptor itself, because the netpoller reports what has changed, not what is
// there.
func (f *readiness) isReady(fd uintptr) bool {
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: f.events}}, 0)
		if err != unix.EINTR {
			return n != 0
		}
	}
}

// joinWatch waits for the descriptor's watch, and starts it if there is none.
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
		go w.run(f)
	}
	f.watch = w
	if f.next = w.first; f.next != nil {
		f.next.prev = f
	}
	w.first = f
}

func (w *watch) run(f *readiness) {
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
	w.err = f.wait(f.conn, f.isReady)
	w.ending.returned = true
}

// remove takes f off the list, if it is on it. watches.mu is held.
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
