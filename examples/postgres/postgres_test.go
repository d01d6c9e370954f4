package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/examples/postgres/internal/server"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

var started = sync.OnceValues(server.New)

func TestMain(m *testing.M) {
	code := m.Run()
	if s, err := started(); err == nil {
		s.Remove()
	}
	os.Exit(code)
}

// conninfo returns what reaches the tests' server, when it answers.
func conninfo(t *testing.T) string {
	t.Helper()
	s, err := started()
	if errors.Is(err, server.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := Open(s.Conninfo, 1)
	defer c.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err = c.Do(t.Context(), "SELECT 1"); err == nil {
			return s.Conninfo
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// open returns a pool of size connections.
func open(t *testing.T, size int) Client {
	c := Open(conninfo(t), size)
	t.Cleanup(c.Close)
	return c
}

// balanced makes t fail if more goroutines or descriptors are left at its end than there are now.
func balanced(t *testing.T) {
	t.Helper()
	count := func() (int, int) {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return runtime.NumGoroutine(), len(files)
	}
	goroutines, files := count()
	t.Cleanup(func() {
		g, f := count()
		for end := time.Now().Add(time.Minute); g > goroutines || f > files; g, f = count() {
			if time.Now().After(end) {
				t.Fatalf("%d goroutines and %d descriptors, were %d and %d", g, f, goroutines, files)
			}
			runtime.Gosched()
		}
	})
}

// resident returns how much memory the process uses.
func resident(t *testing.T) int {
	t.Helper()
	var size, pages int
	text, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(text), &size, &pages)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// outcome waits for a task.
func outcome[T any](task *executor.JoinHandle[T]) (T, error) {
	r := blockon.BlockOn(task.Outcome())
	return r.Value, r.Err
}

// begin polls a future that is not ready, and returns it.
func begin(f rawwaker.Future[Result]) rawwaker.Future[Result] {
	blockon.BlockOn(future.PollFn(func(cx *rawwaker.Context) rawwaker.Poll[struct{}] {
		f.Poll(cx)
		return rawwaker.Ready(struct{}{})
	}))
	return f
}

// one returns the only value that a statement gives.
func one(t *testing.T, c Client, sql string, arg ...string) string {
	t.Helper()
	r, err := c.Do(t.Context(), sql, arg...)
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Rows[0][0])
}

const sleeping = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE $1"

// await waits until n statements with this text are under way in the server.
func await(t *testing.T, watch Client, text string, n int) {
	t.Helper()
	for want := fmt.Sprint(n); one(t, watch, sleeping, text+"%") != want; {
		runtime.Gosched()
	}
}

func TestDo(t *testing.T) {
	conninfo(t)
	balanced(t)
	c := open(t, 1)
	t.Run("gives_values_NULL_and_what_was_done", func(t *testing.T) {
		r, err := c.Do(t.Context(), "SELECT $1, '', NULL, $2::int + 1 UNION SELECT 'b', '', '', 0 "+
			"ORDER BY 1", "a", "41")
		if got := fmt.Sprintf("%s", r.Rows); err != nil || got != "[[a   42] [b   0]]" ||
			r.Rows[0][1] == nil || r.Rows[0][2] != nil || r.Tag != "SELECT 2" || r.State != "" {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("gives_errors_of_the_server", func(t *testing.T) {
		for _, want := range []struct{ sql, state, text string }{
			{"SELECT 1/0", "22012", "division by zero"},
			{"SELEC", "42601", "syntax error"},
			{"SELECT 1; SELECT 2", "42601", "multiple commands"},
			{"SELECT $1", "08P01", "bind message"},
			{"COPY pg_class TO STDOUT", "", "cancelled or closed"},
			{"COPY pg_class FROM STDIN", "", "cancelled or closed"},
		} {
			r, err := c.Do(t.Context(), want.sql)
			if err == nil || r.State != want.state || !strings.Contains(err.Error(), want.text) {
				t.Errorf("%s: %+v, %v", want.sql, r, err)
			}
		}
		many := make([]string, 70_000)
		if r, err := c.Do(t.Context(), "SELECT 1", many...); err == nil || r.Rows != nil {
			t.Errorf("70000 arguments: %v, %v", r, err)
		}
		if got := one(t, c, "SELECT 'usable'"); got != "usable" {
			t.Error(got)
		}
	})
	t.Run("sends_and_receives_more_than_a_socket_holds", func(t *testing.T) {
		text := strings.Repeat("0123456789", 1_000_000)
		if got := one(t, c, "SELECT $1", text); got != text {
			t.Errorf("%d bytes", len(got))
		}
	})
	t.Run("waits_until_a_cancelled_statement_has_ended", func(t *testing.T) {
		watch := open(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer cancel()
			await(t, watch, "SELECT pg_sleep(3600), 'do'", 1)
		}()
		r, err := c.Do(ctx, "SELECT pg_sleep(3600), 'do'")
		if !errors.Is(err, context.Canceled) || r.State != "57014" {
			t.Errorf("%+v, %v", r, err)
		}
		await(t, watch, "SELECT pg_sleep(3600), 'do'", 0)
		if got := one(t, c, "SELECT 'usable'"); got != "usable" {
			t.Error(got)
		}
	})
}

func TestQuery(t *testing.T) {
	conninfo(t)
	balanced(t)
	// The server forgets a cancel that comes while it still reads the statement.
	t.Run("ends_a_statement_that_has_hardly_begun", func(t *testing.T) {
		c := open(t, 1)
		for _, n := range []int{0, 1 << 10, 1 << 20, 1 << 25} {
			f := c.Query("SELECT pg_sleep(3600), length($1)", strings.Repeat("x", n))
			begin(f).(rawwaker.Dropper).Drop()
			if got := one(t, c, "SELECT 'usable'"); got != "usable" {
				t.Error(got)
			}
		}
	})
	t.Run("runs_in_order_and_not_at_all_if_dropped_before", func(t *testing.T) {
		c, watch := open(t, 1), open(t, 1)
		ex := executor.New(executor.Workers(1))
		defer ex.Close()
		for _, sql := range []string{"DROP TABLE IF EXISTS ran", "CREATE TABLE ran (n int)"} {
			if _, err := watch.Do(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		first := executor.Spawn(ex, c.Query("SELECT pg_sleep(3600), 'first'"))
		await(t, watch, "SELECT pg_sleep(3600), 'first'", 1)
		tasks := make([]*executor.JoinHandle[Result], 300)
		for i := range tasks {
			tasks[i] = executor.Spawn(ex, begin(c.Query("INSERT INTO ran VALUES ($1)", fmt.Sprint(i))))
		}
		for i := 2; i < len(tasks); i += 3 {
			tasks[i].Abort()
			if _, err := outcome(tasks[i]); !errors.Is(err, executor.ErrAborted) {
				t.Error(i, err)
			}
		}
		first.Abort()
		for i, task := range tasks {
			if i%3 == 2 {
				continue
			}
			if r, err := outcome(task); err != nil || r.Err != nil {
				t.Error(i, err, r.Err)
			}
		}
		r, err := watch.Do(t.Context(), "SELECT n FROM ran")
		if err != nil || len(r.Rows) != 200 {
			t.Fatalf("%d have run, %v", len(r.Rows), err)
		}
		for i, row := range r.Rows {
			if got := string(row[0]); got != fmt.Sprint(i/2*3+i%2) {
				t.Errorf("%d: %s", i, got)
			}
		}
	})
	// A third of the statements would take an hour. Each wave of them is dropped once the server
	// runs all of it, and those behind it in the line run only if it has really ended.
	t.Run("answers_10000_statements_of_which_a_third_is_cancelled", func(t *testing.T) {
		const n, size = 10_000, 16
		const sleep = "SELECT pg_sleep(3600), 'third'"
		c, watch := open(t, size), open(t, 1)
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		answered, cancelled := 0, 0
		for i := 0; i < n; {
			var tasks []*executor.JoinHandle[Result]
			wave := min(size, (n-i+2)/3)
			for range wave {
				tasks = append(tasks, executor.Spawn(ex, c.Query(sleep)))
			}
			for k := i; k < min(i+2*wave, n-wave); k++ {
				tasks = append(tasks, executor.Spawn(ex, c.Query("SELECT $1::int + 1", fmt.Sprint(k))))
			}
			await(t, watch, sleep, wave)
			for _, task := range tasks[:wave] {
				task.Abort()
			}
			for k, task := range tasks {
				r, err := outcome(task)
				switch {
				case k < wave && errors.Is(err, executor.ErrAborted):
					cancelled++
				case err == nil && r.Err == nil && string(r.Rows[0][0]) == fmt.Sprint(i+k-wave+1):
					answered++
				default:
					t.Fatalf("%d, %d: %+v, %v", i, k, r, err)
				}
			}
			i += len(tasks)
		}
		await(t, watch, sleep, 0)
		if cancelled != (n+2)/3 || answered != n-(n+2)/3 {
			t.Errorf("%d were cancelled, %d answered", cancelled, answered)
		}
	})
	t.Run("gives_errors_when_the_server_has_ended", func(t *testing.T) {
		c, watch := open(t, 4), open(t, 1)
		ex := executor.New(executor.Workers(1))
		defer ex.Close()
		tasks := make([]*executor.JoinHandle[Result], 10) // 4 are under way, 6 are in line
		for i := range tasks {
			tasks[i] = executor.Spawn(ex, c.Query("SELECT pg_sleep(3600), 'ends'"))
		}
		await(t, watch, "SELECT pg_sleep(3600), 'ends'", 4)
		s, _ := started()
		s.Kill()
		for i, task := range tasks {
			if r, err := outcome(task); err != nil || r.Err == nil {
				t.Errorf("%d: %+v, %v", i, r, err)
			}
		}
		if _, err := c.Do(t.Context(), "SELECT 1"); err == nil {
			t.Error("a later one has no error")
		}
		if err := s.Run(); err != nil {
			t.Fatal(err)
		}
		conninfo(t)
		if got := one(t, c, "SELECT 'usable'"); got != "usable" {
			t.Error(got)
		}
	})
	t.Run("gives_an_error_for_a_statement_of_a_closed_client", func(t *testing.T) {
		c, watch := Open(conninfo(t), 2), open(t, 1)
		ex := executor.New(executor.Workers(1))
		defer ex.Close()
		tasks := make([]*executor.JoinHandle[Result], 5)
		for i := range tasks {
			tasks[i] = executor.Spawn(ex, c.Query("SELECT pg_sleep(3600), 'closed'"))
		}
		late := c.Query("SELECT 1")
		await(t, watch, "SELECT pg_sleep(3600), 'closed'", 2)
		c.Close()
		for i, task := range append(tasks, executor.Spawn(ex, late)) {
			r, err := outcome(task)
			if err != nil || r.Err == nil || r.Err.Error() != "postgres: cancelled or closed" {
				t.Errorf("%d: %+v, %v", i, r, err)
			}
		}
		await(t, watch, "SELECT pg_sleep(3600), 'closed'", 0)
	})
}

func TestRows(t *testing.T) {
	conninfo(t)
	balanced(t)
	const n = 100_000
	const all = "SELECT i, repeat('x', 4000) FROM generate_series(1, 100000) i"
	c := open(t, 1)
	t.Run("are_all_rows_in_order", func(t *testing.T) {
		got, before := 0, resident(t)
		rows, end := c.Rows(all)
		r := blockon.BlockOn(future.Join(end, future.ForEach(rows, func(r Result) {
			if got++; r.Err != nil || string(r.Rows[0][0]) != fmt.Sprint(got) {
				t.Fatalf("%d: %+v", got, r)
			}
			// Of more than 400; the address sanitizer keeps 256 that were freed.
			if got%10_000 == 0 && resident(t)-before > 320<<20 {
				t.Errorf("after %d rows: %d MB more", got, (resident(t)-before)>>20)
			}
		}))).First
		if got != n || r.Err != nil || r.Rows != nil || r.Tag != "SELECT 100000" {
			t.Errorf("%d, %+v", got, r)
		}
	})
	t.Run("wait_in_the_server_while_none_is_taken_and_end_with_their_stream", func(t *testing.T) {
		watch, before := open(t, 1), resident(t)
		rows, end := c.Rows(all)
		ex := executor.New(executor.Workers(1))
		defer ex.Close()
		task := executor.Spawn(ex, end)
		for range 500 {
			blockon.BlockOn(future.Next(rows))
		}
		// The socket and the stream are full: the server waits for this client.
		for one(t, watch, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'ClientWrite'"+
			" AND query = $1", all) != "1" {
			runtime.Gosched()
		}
		if more := resident(t) - before; more > 50<<20 {
			t.Errorf("%d bytes more", more)
		}
		rows.(rawwaker.Dropper).Drop()
		if r, err := outcome(task); err != nil || r.State != "57014" {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("end_if_their_future_is_dropped", func(t *testing.T) {
		rows, end := c.Rows(all)
		begin(end)
		blockon.BlockOn(future.Next(rows))
		end.(rawwaker.Dropper).Drop()
		got := len(blockon.BlockOn(future.Collect(rows)))
		if got >= n {
			t.Error("all rows came")
		}
	})
	t.Run("end_if_the_client_is_closed", func(t *testing.T) {
		c := Open(conninfo(t), 1)
		rows, end := c.Rows(all)
		begin(end)
		blockon.BlockOn(future.Next(rows))
		c.Close()
		p := blockon.BlockOn(future.Join(end, future.Collect(rows)))
		if len(p.Second) >= n || p.First.Err == nil {
			t.Errorf("%d rows, %+v", len(p.Second), p.First)
		}
	})
	t.Run("do_nothing_if_they_are_dropped_unused", func(t *testing.T) {
		rows, end := c.Rows("SELECT 1/0")
		rows.(rawwaker.Dropper).Drop()
		end.(rawwaker.Dropper).Drop()
		rows, end = c.Rows("SELECT 1/0")
		end.(rawwaker.Dropper).Drop()
		rows.(rawwaker.Dropper).Drop()
	})
	t.Run("end_with_an_error_behind_the_rows_before_it", func(t *testing.T) {
		rows, end := c.Rows("SELECT 1 / (3 - i) FROM generate_series(1, 5) i")
		p := blockon.BlockOn(future.Join(end, future.Collect(rows)))
		if len(p.Second) != 2 || p.First.State != "22012" {
			t.Errorf("%+v", p)
		}
	})
}
