// Command measure compares the binding with its callback form: timeouts and reads are cancelled
// half-way. It prints how many there were, and how many ran to completion all the same, as lines of
// a name, a tab and a number: uring.operations, the timeouts uring.ran.ours and .callback, and the
// reads uring.reads.ours and .callback.
//
// Exit status 3: the kernel refuses io_uring.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/examples/uring"
	"github.com/seed-8a1b3254/ffiwaker/examples/uring/callback"
)

const (
	operations = 400
	long       = 500 * time.Millisecond // a timeout
)

// halfWay begins all operations, cancels them half-way, and returns long after they have begun.
func halfWay(do func(ctx context.Context, i int)) {
	ctx, cancel := context.WithTimeout(context.Background(), long/2)
	defer cancel()
	var all sync.WaitGroup
	for i := range operations {
		all.Go(func() { do(ctx, i) })
	}
	all.Wait()
	time.Sleep(long)
}

// reads counts the reads that have taken what was written after they were cancelled.
func reads(read func(ctx context.Context, fd, n int) ([]byte, error)) (taken int) {
	var pipes [operations][2]int
	for i := range pipes {
		if err := syscall.Pipe2(pipes[i][:], syscall.O_CLOEXEC); err != nil {
			log.Fatal(err)
		}
	}
	halfWay(func(ctx context.Context, i int) { read(ctx, pipes[i][0], 1) })
	for _, p := range pipes {
		syscall.Write(p[1], []byte("x"))
	}
	time.Sleep(long / 4)
	for _, p := range pipes {
		syscall.SetNonblock(p[0], true)
		if _, err := syscall.Read(p[0], make([]byte, 1)); err == syscall.EAGAIN {
			taken++
		}
		syscall.Close(p[0])
		syscall.Close(p[1])
	}
	return taken
}

func main() {
	ours, err := uring.Open()
	if err != nil {
		fmt.Fprintln(os.Stderr, "the kernel refuses io_uring:", err)
		os.Exit(3)
	}
	theirs, err := callback.Open()
	if err != nil {
		log.Fatal(err)
	}
	var completed atomic.Int64
	halfWay(func(ctx context.Context, _ int) {
		if !errors.Is(ours.DoTimeout(ctx, long), syscall.ECANCELED) {
			completed.Add(1)
		}
	})
	halfWay(func(ctx context.Context, _ int) { theirs.DoTimeout(ctx, long) })
	fmt.Printf("uring.operations\t%d\n", operations)
	fmt.Printf("uring.ran.ours\t%d\n", completed.Load())
	fmt.Printf("uring.ran.callback\t%d\n", callback.Completed.Load())
	fmt.Printf("uring.reads.ours\t%d\n", reads(ours.DoRead))
	fmt.Printf("uring.reads.callback\t%d\n", reads(theirs.DoRead))
	ours.Close()
	theirs.Close()
}
