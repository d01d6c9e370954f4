//go:build cgo && linux

// Command goside is a Go program that runs under faults; ../run builds and runs it.
//
//	goside descriptors      reports what works with the descriptors there are, then with none left,
//	                        then with enough
//	goside signals ROUNDS   awaits a C future that signals wake, one for each poll, while the
//	                        collector is busy
package main

/*
#cgo CFLAGS: -std=gnu11 -I${SRCDIR}/../../../..
#include "signals.h"
typedef struct numbers { uintptr_t data, vtable; } numbers;
static numbers start(uint64_t rounds) {
	rawwaker_future f = signals_future(rounds);
	numbers n = { (uintptr_t)f.data, (uintptr_t)f.vtable };
	return n;
}
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	_ "github.com/seed-8a1b3254/ffiwaker" // for rawwaker.h
	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func fail(format string, a ...any) {
	fmt.Printf("FAIL goside: "+format+"\n", a...)
	os.Exit(1)
}

// inGo wakes one goroutine from another, which needs no resource of the system.
func inGo() {
	sender, receiver := future.Oneshot[int]()
	go sender.Send(42)
	if got := blockon.BlockOn(receiver); got.Err != nil || got.Value != 42 {
		fail("a oneshot gave %v", got)
	}
}

// cross moves a waker to C and back. It returns the text of its panic; "": it did not panic.
func cross() (said string) {
	defer func() {
		if v := recover(); v != nil {
			said = fmt.Sprint(v)
		}
	}()
	woken := make(chan struct{}, 1)
	w := rawwaker.FromRaw(rawwaker.FromFunc(func() { woken <- struct{}{} }).IntoRaw())
	w.Wake()
	<-woken
	return ""
}

// local runs a task on an executor that has a descriptor. It returns the error of opening it.
func local() error {
	l, err := executor.OpenLocal()
	if err != nil {
		return err
	}
	defer l.Close()
	if got := executor.RunUntil(l, future.Ready(42)); got != 42 {
		fail("a task gave %d", got)
	}
	return nil
}

const noDescriptor = "rawwaker: ffiwaker: no descriptor for wakes from C: too many open files"

func descriptors() {
	inGo()
	switch said, err := cross(), local(); {
	case said == noDescriptor && errors.Is(err, syscall.EMFILE):
		// Too few from the start: that does not change, and whatever needs none works.
		inGo()
		fmt.Println("started without: wakes in Go work, crossing panics with its line, " +
			"OpenLocal returns EMFILE")
		return
	case said != "":
		fail("crossing panicked: %s; OpenLocal: %v", said, err)
	case err != nil && !errors.Is(err, syscall.EMFILE):
		fail("OpenLocal: %v", err)
	}
	// Later: the process's own sink exists, so crossing still works.
	var was, few syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
		fail("getrlimit: %v", err)
	}
	next, err := syscall.Dup(0)
	if err == nil {
		syscall.Close(next)
		few = was
		few.Cur = uint64(next)
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
			fail("setrlimit: %v", err)
		}
	}
	const times = 100
	for range times {
		inGo()
		if said := cross(); said != "" {
			fail("crossing without a descriptor left panicked: %s", said)
		}
		if err := local(); !errors.Is(err, syscall.EMFILE) {
			fail("OpenLocal without a descriptor left: %v", err)
		}
		<-time.After(10 * time.Microsecond)
	}
	if err == nil {
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &was); err != nil {
			fail("setrlimit: %v", err)
		}
		if err := local(); err != nil {
			fail("OpenLocal with descriptors again: %v", err)
		}
	}
	fmt.Printf("ran out later, refused %d\n", times)
}

func signals(rounds uint64) {
	C.signals_install()
	// Go's collector and its timers are busy meanwhile.
	stop, over := make(chan struct{}), sync.WaitGroup{}
	over.Go(func() {
		var kept [][]byte
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Microsecond):
			}
			if kept = append(kept, make([]byte, 4096)); len(kept) == 1000 {
				kept = nil
				runtime.GC()
			}
		}
	})
	words := C.start(C.uint64_t(rounds))
	raw := rawwaker.RawFutureOf(uintptr(words.data), uintptr(words.vtable))
	f := rawwaker.FutureFromRaw[uint64](raw)
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	got, err := blockon.Await(ctx, f)
	close(stop)
	over.Wait()
	c := C.signals_counted()
	if err != nil {
		fail("a wake was lost: %d signals, %d polls, then %v", c.signals, c.polls, err)
	}
	if got != rounds || uint64(c.signals) != rounds || c.changed_errno != 0 || c.drops != 1 {
		fail("%d of %d signals seen, %d came, errno changed by %d, %d drops",
			got, rounds, c.signals, c.changed_errno, c.drops)
	}
	for deadline := time.Now().Add(10 * time.Second); capi.Live() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			fail("%d boxes are left", capi.Live())
		}
	}
	fmt.Printf("ok goside: faults %d, %d polls, errno kept by each, 0 lost\n",
		uint64(c.signals), uint64(c.polls))
}

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "descriptors":
		descriptors()
	case len(os.Args) == 3 && os.Args[1] == "signals":
		rounds, err := strconv.ParseUint(os.Args[2], 10, 64)
		if err != nil {
			fail("%v", err)
		}
		signals(rounds)
	default:
		fmt.Fprintln(os.Stderr, "usage: goside descriptors | goside signals ROUNDS")
		os.Exit(2)
	}
}
