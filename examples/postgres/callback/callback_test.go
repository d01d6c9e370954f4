package callback

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/examples/postgres/internal/server"
)

var started = sync.OnceValues(server.New)

func TestMain(m *testing.M) {
	code := m.Run()
	if s, err := started(); err == nil {
		s.Remove()
	}
	os.Exit(code)
}

// open returns a pool of size connections to the tests' server, when it answers.
func open(t *testing.T, size int) Client {
	t.Helper()
	s, err := started()
	if errors.Is(err, server.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	c := Open(s.Conninfo, size)
	t.Cleanup(c.Close)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err = c.Do(t.Context(), "SELECT 1"); err == nil {
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func TestDo(t *testing.T) {
	c := open(t, 4)
	t.Run("gives_values_and_errors", func(t *testing.T) {
		r, err := c.Do(t.Context(), "SELECT $1, NULL", "a")
		if err != nil || fmt.Sprintf("%s", r.Rows) != "[[a ]]" || r.Rows[0][1] != nil {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err := c.Do(t.Context(), "SELECT 1/0"); err == nil || r.State != "22012" {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("ends_the_wait_with_the_context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Do(ctx, "SELECT pg_sleep(1)"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	t.Run("answers_10000_statements", func(t *testing.T) {
		var answers []<-chan Result
		for i := range 10_000 {
			answers = append(answers, c.Query("SELECT $1::int + 1", fmt.Sprint(i)))
		}
		for i, answer := range answers {
			if r := <-answer; r.Err != nil || string(r.Rows[0][0]) != fmt.Sprint(i+1) {
				t.Fatalf("%d: %+v", i, r)
			}
		}
	})
}

func TestRows(t *testing.T) {
	const all = "SELECT i, repeat('x', 1000) FROM generate_series(1, 100000) i"
	c := open(t, 1)
	t.Run("are_all_rows_in_order", func(t *testing.T) {
		rows, got := c.Rows(all), 0
		for {
			r, ok, err := rows.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if got++; string(r.Rows[0][0]) != fmt.Sprint(got) {
				t.Fatalf("%d: %+v", got, r)
			}
		}
		if r, err := rows.Result(t.Context()); got != 100_000 || err != nil || r.Tag != "SELECT 100000" {
			t.Errorf("%d, %+v, %v", got, r, err)
		}
	})
	t.Run("are_given_up_by_Close", func(t *testing.T) {
		rows := c.Rows(all)
		rows.Next(t.Context())
		rows.Close()
		if r, err := rows.Result(t.Context()); err != nil || r.Tag != "SELECT 100000" {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("end_with_an_error_if_the_client_is_closed", func(t *testing.T) {
		s, _ := started()
		c := Open(s.Conninfo, 1)
		rows := c.Rows(all)
		rows.Next(t.Context())
		c.Close()
		_, err := rows.Result(t.Context())
		_, late := c.Do(t.Context(), "SELECT 1")
		for _, err := range []error{err, late} {
			if err == nil || !strings.Contains(err.Error(), "closed") {
				t.Error(err)
			}
		}
	})
}
