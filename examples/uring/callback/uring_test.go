package callback

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestRing(t *testing.T) {
	r, err := Open()
	if err != nil {
		t.Skip("the kernel refuses io_uring: ", err)
	}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	fd := int(in.Fd())
	syscall.SetNonblock(fd, false)
	t.Run("gives_data_and_errors", func(t *testing.T) {
		out.WriteString("hello")
		if data, err := r.DoRead(t.Context(), fd, 16); err != nil || string(data) != "hello" {
			t.Errorf("%q, %v", data, err)
		}
		if _, err := r.DoRead(t.Context(), -1, 16); err != syscall.EBADF {
			t.Error(err)
		}
		if err := r.DoTimeout(t.Context(), time.Millisecond); err != nil {
			t.Error(err)
		}
	})
	t.Run("leaves_the_read_running_when_the_context_ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := r.DoRead(ctx, fd, 4); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		out.WriteString("lostkept")
		if data, err := r.DoRead(t.Context(), fd, 4); err != nil || string(data) != "kept" {
			t.Errorf("%q, %v", data, err)
		}
	})
	t.Run("ends_what_runs_when_it_is_closed", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		completed := Completed.Load()
		for range 100 {
			if _, err := r.DoRead(ctx, fd, 1); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		r.Close()
		out.WriteString("late")
		var b [16]byte
		n, err := syscall.Read(fd, b[:])
		if n != 4 || Completed.Load() != completed {
			t.Errorf("left %d, %v; %d completed", n, err, Completed.Load()-completed)
		}
	})
}
