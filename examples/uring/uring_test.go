package uring

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(entries)
}

// open returns a ring whose test fails if it leaves goroutines or descriptors behind.
func open(t *testing.T) *Ring {
	t.Helper()
	warm, err := Open() // the library's own goroutine and descriptor
	if err != nil {
		t.Skip("the kernel refuses io_uring: ", err)
	}
	blockon.BlockOn(warm.Timeout(0))
	warm.Close()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	t.Cleanup(func() {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			runtime.GC() // what Close leaves is freed with the last reference
			g, d := runtime.NumGoroutine(), descriptors(t)
			if g <= goroutines && d <= fds {
				return
			}
			if time.Now().After(deadline) {
				t.Errorf("goroutines %d, before %d; descriptors %d, before %d", g, goroutines, d, fds)
				return
			}
		}
	})
	r, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pipe is a pipe that is not O_NONBLOCK. It keeps its reading end open by itself.
type pipe struct{ r, w int }

func newPipe(t *testing.T) pipe {
	t.Helper()
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fds[0]); syscall.Close(fds[1]) })
	return pipe{fds[0], fds[1]}
}

func (p pipe) write(t *testing.T, text string) {
	t.Helper()
	if _, err := syscall.Write(p.w, []byte(text)); err != nil {
		t.Error(err)
	}
}

// left is what no read has taken.
func (p pipe) left(t *testing.T) string {
	t.Helper()
	syscall.SetNonblock(p.r, true)
	defer syscall.SetNonblock(p.r, false)
	var b [16]byte
	n, err := syscall.Read(p.r, b[:])
	if err != nil && err != syscall.EAGAIN {
		t.Error(err)
	}
	return string(b[:max(n, 0)])
}

// begun reports the first poll of f.
type begun struct {
	rawwaker.Future[Result]
	once  sync.Once
	polls *sync.WaitGroup
}

func (b *begun) Poll(cx *rawwaker.Context) rawwaker.Poll[Result] {
	p := b.Future.Poll(cx)
	b.once.Do(b.polls.Done)
	return p
}

func (b *begun) Drop() { b.Future.(rawwaker.Dropper).Drop() }

// fence returns when the kernel has been given all that was asked of r before: starts and cancels.
func fence(r *Ring) { blockon.BlockOn(r.Timeout(0)) }

// spawn awaits fs as tasks, and returns when they are in flight.
func spawn(
	ex *executor.Executor, r *Ring, fs ...rawwaker.Future[Result],
) (tasks []*executor.JoinHandle[Result]) {
	var polls sync.WaitGroup
	polls.Add(len(fs))
	for _, f := range fs {
		f = &begun{Future: f, polls: &polls}
		tasks = append(tasks, executor.Spawn(ex, f))
	}
	polls.Wait()
	fence(r)
	return tasks
}

// outcome waits for a task.
func outcome(task *executor.JoinHandle[Result]) (Result, error) {
	r := blockon.BlockOn(task.Outcome())
	return r.Value, r.Err
}

func TestRead(t *testing.T) {
	t.Run("gives_data_the_end_and_errors", func(t *testing.T) {
		r := open(t)
		defer r.Close()
		p := newPipe(t)
		p.write(t, "hello")
		for _, want := range []string{"he", "ll", "o"} {
			if v := blockon.BlockOn(r.Read(p.r, 2)); v.Err != nil || string(v.Value) != want {
				t.Errorf("%q, %v; want %q", v.Value, v.Err, want)
			}
		}
		null, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer null.Close()
		if v := blockon.BlockOn(r.Read(int(null.Fd()), 2)); v.Err != nil || len(v.Value) != 0 {
			t.Errorf("at the end: %q, %v", v.Value, v.Err)
		}
		if v := blockon.BlockOn(r.Read(-1, 2)); v.Err != syscall.EBADF {
			t.Errorf("no file: %q, %v", v.Value, v.Err)
		}
	})
	t.Run("ends_10000_reads_of_which_a_third_is_cancelled_half_way", func(t *testing.T) {
		const n, wave = 10_000, 250
		r := open(t)
		defer r.Close()
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		var pipes [wave]pipe
		for i := range pipes {
			pipes[i] = newPipe(t)
		}
		var read, cancelled int
		for first := 0; first < n; first += wave {
			var fs []rawwaker.Future[Result]
			for _, p := range pipes {
				fs = append(fs, r.Read(p.r, 16))
			}
			tasks := spawn(ex, r, fs...)
			for i, task := range tasks {
				if (first+i)%3 == 0 {
					task.Abort()
					if _, err := outcome(task); !errors.Is(err, executor.ErrAborted) {
						t.Fatal(first+i, err)
					}
				}
			}
			fence(r)
			for _, p := range pipes {
				p.write(t, "late")
			}
			for i, task := range tasks {
				if (first+i)%3 == 0 {
					if left := pipes[i].left(t); left != "late" {
						t.Fatalf("%d: read after it was cancelled; left %q", first+i, left)
					}
					cancelled++
				} else if v, err := outcome(task); err != nil || v.Err != nil || string(v.Value) != "late" {
					t.Fatal(first+i, v, err)
				} else {
					read++
				}
			}
		}
		if read != 6666 || cancelled != 3334 {
			t.Errorf("read %d, cancelled %d", read, cancelled)
		}
	})
	t.Run("keeps_the_buffer_of_a_dropped_read_until_it_has_ended", func(t *testing.T) {
		r := open(t)
		defer r.Close()
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		p := newPipe(t)
		for range 1000 {
			task := spawn(ex, r, r.Read(p.r, 16))[0]
			written := make(chan struct{})
			go func() { defer close(written); p.write(t, "data") }()
			task.Abort()
			<-written
			v, err := outcome(task)
			fence(r)
			fence(r) // the first one's end may come before the read's
			switch left := p.left(t); {
			case err == nil && string(v.Value) == "data" && left == "":
			case errors.Is(err, executor.ErrAborted) && (left == "" || left == "data"):
			default:
				t.Fatalf("%q %v %v; left %q", v.Value, v.Err, err, left)
			}
		}
	})
}

func TestDoRead(t *testing.T) {
	t.Run("loses_no_byte_when_it_is_cancelled", func(t *testing.T) {
		r := open(t)
		defer r.Close()
		p := newPipe(t)
		for range 1000 {
			ctx, cancel := context.WithCancel(t.Context())
			var both sync.WaitGroup
			both.Go(func() { p.write(t, "x") })
			both.Go(cancel)
			data, err := r.DoRead(ctx, p.r, 16)
			both.Wait()
			left := p.left(t)
			if string(data)+left != "x" || left != "" && !errors.Is(err, context.Canceled) {
				t.Fatalf("%q %v; left %q", data, err, left)
			}
		}
	})
	t.Run("returns_when_the_kernel_has_ended_the_read", func(t *testing.T) {
		r := open(t)
		defer r.Close()
		p := newPipe(t)
		for range 100 {
			ctx, cancel := context.WithCancel(t.Context())
			var done sync.WaitGroup
			done.Go(func() {
				_, err := r.DoRead(ctx, p.r, 16)
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				p.write(t, "late")
				if left := p.left(t); left != "late" {
					t.Errorf("left %q", left)
				}
			})
			fence(r) // most often the read is in flight now
			cancel()
			done.Wait()
		}
	})
}

func TestTimeout(t *testing.T) {
	t.Run("gives_its_end_and_errors", func(t *testing.T) {
		r := open(t)
		defer r.Close()
		if err := r.DoTimeout(t.Context(), time.Millisecond); err != nil {
			t.Error(err)
		}
		if err := r.DoTimeout(t.Context(), -1); !errors.Is(err, syscall.EINVAL) {
			t.Error(err)
		}
	})
	t.Run("ends_at_once_when_it_is_cancelled", func(t *testing.T) {
		r := open(t)
		defer r.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		for range 1000 {
			done.Go(func() {
				if err := r.DoTimeout(ctx, time.Hour); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		fence(r) // most often they are in flight now
		cancel()
		done.Wait()
	})
}

func TestClose(t *testing.T) {
	t.Run("cancels_what_is_in_flight_and_refuses_what_comes_later", func(t *testing.T) {
		r := open(t)
		ex := executor.New(executor.Workers(1))
		defer ex.Close()
		p := newPipe(t)
		var fs []rawwaker.Future[Result]
		for range 500 {
			fs = append(fs, r.Read(p.r, 16), r.Timeout(time.Hour))
		}
		tasks := spawn(ex, r, fs...)
		late := r.Read(p.r, 16)
		r.Close()
		p.write(t, "late")
		for _, task := range append(tasks, executor.Spawn(ex, late), executor.Spawn(ex, r.Timeout(0))) {
			if v, err := outcome(task); err != nil || v.Err != syscall.ECANCELED {
				t.Error(v, err)
			}
		}
		if left := p.left(t); left != "late" {
			t.Errorf("left %q", left)
		}
	})
}
