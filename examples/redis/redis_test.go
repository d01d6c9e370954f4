package redis

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

// outcome waits for a task.
func outcome(task *executor.JoinHandle[rawwaker.Result[Reply]]) (Reply, error) {
	r := blockon.BlockOn(task.Outcome())
	if r.Err != nil {
		return Reply{}, r.Err
	}
	return r.Value.Value, r.Value.Err
}

// serve starts a redis-server, and returns its socket's path and how to kill it.
func serve(t *testing.T) (path string, kill func()) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "s")
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", path, "--save", "",
		"--dir", dir)
	if errors.Is(server.Err, exec.ErrNotFound) {
		t.Skip("redis-server is not installed")
	}
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also if the test crashes
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() { server.Process.Kill(); server.Wait() }
	t.Cleanup(kill)
	for deadline := time.Now().Add(time.Minute); ; {
		c := Open(path)
		r, _ := c.Do(t.Context(), "PING")
		c.Close()
		if r.Text == "PONG" {
			return path, kill
		}
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// The kit polls, wakes and drops a command that waits for another one.
func TestCommand(t *testing.T) {
	path, _ := serve(t)
	other := Open(path)
	defer other.Close()
	var lists atomic.Int64
	wakertest.TestFuture(t, func(t testing.TB) wakertest.Future[rawwaker.Result[Reply]] {
		c := Open(path)
		list := fmt.Sprint("list", lists.Add(1))
		return wakertest.Future[rawwaker.Result[Reply]]{
			Future:   c.Command("BLPOP", list, "0"),
			Complete: func() { other.Do(context.Background(), "RPUSH", list, "item") },
			Free:     c.Close,
		}
	})
}

func TestClient(t *testing.T) {
	path, kill := serve(t)
	c := Open(path)
	t.Run("gives_values_nil_and_errors", func(t *testing.T) {
		ctx := t.Context()
		for _, want := range []struct {
			args, text string
			ok         bool
		}{{"SET a b", "OK", true}, {"GET a", "b", true}, {"GET none", "", false}} {
			r, err := c.Do(ctx, strings.Fields(want.args)...)
			if err != nil || r.Text != want.text || r.OK != want.ok {
				t.Errorf("%s: %+v, %v", want.args, r, err)
			}
		}
		if _, err := c.Do(ctx, "NOSUCH"); err == nil || !strings.Contains(err.Error(), "NOSUCH") {
			t.Errorf("NOSUCH: %v", err)
		}
	})
	t.Run("answers_10000_commands_of_which_a_third_is_aborted", func(t *testing.T) {
		const n = 10_000
		for i := range 10 {
			c.Do(t.Context(), "SET", fmt.Sprint("k", i), strings.Repeat(fmt.Sprint(i), 1000))
		}
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		tasks := make([]*executor.JoinHandle[rawwaker.Result[Reply]], n)
		for i := range tasks {
			tasks[i] = executor.Spawn(ex, c.Command("GET", fmt.Sprint("k", i%10)))
		}
		for i := 0; i < n; i += 3 {
			tasks[i].Abort()
		}
		for i, task := range tasks {
			r, err := outcome(task)
			switch {
			case i%3 == 0 && errors.Is(err, executor.ErrAborted):
			case err != nil || r.Text != strings.Repeat(fmt.Sprint(i%10), 1000):
				t.Fatalf("%d: %.20q %v", i, r.Text, err)
			}
		}
	})
	t.Run("gives_errors_when_the_server_has_ended", func(t *testing.T) {
		blocked := executor.New(executor.Workers(1))
		defer blocked.Close()
		pending := executor.Spawn(blocked, c.Command("BLPOP", "empty", "0"))
		other := Open(path)
		defer other.Close()
		for { // until the server has it
			r, _ := other.Do(t.Context(), "CLIENT", "LIST")
			if strings.Contains(r.Text, "blpop") {
				break
			}
			runtime.Gosched()
		}
		kill()
		if r, err := outcome(pending); err == nil {
			t.Errorf("the pending one: %+v", r)
		}
		if _, err := c.Do(t.Context(), "GET", "a"); err == nil {
			t.Error("a later one has no error")
		}
	})
	t.Run("gives_an_error_for_a_command_of_a_closed_client", func(t *testing.T) {
		late := c.Command("GET", "a")
		c.Close()
		ex := executor.New(executor.Workers(1))
		defer ex.Close()
		r, err := outcome(executor.Spawn(ex, late))
		if err == nil || err.Error() != "redis: no connection" {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err := c.Do(t.Context(), "GET", "a"); err == nil || err.Error() != "redis: no connection" {
			t.Errorf("a command made after Close: %+v, %v", r, err)
		}
	})
}
