package curl

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// server answers /N by N lines. A request for /slow gets half a body and is then reported to half;
// it gets the rest when rest is closed. If its client has left before, it is reported to left.
type server struct {
	*httptest.Server
	half, left chan struct{}
	rest       chan struct{}
}

func serve(t *testing.T) server {
	s := server{half: make(chan struct{}), left: make(chan struct{}), rest: make(chan struct{})}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/slow" {
			var n int
			fmt.Sscanf(r.URL.Path, "/%d", &n)
			w.WriteHeader(200 + n%3)
			fmt.Fprint(w, strings.Repeat("line\n", n))
			return
		}
		fmt.Fprint(w, "half ")
		http.NewResponseController(w).Flush()
		s.half <- struct{}{}
		select {
		case <-s.rest:
			fmt.Fprint(w, "rest")
		case <-r.Context().Done():
			s.left <- struct{}{}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip(err)
	}
	return len(entries)
}

// open returns a client whose test fails if it leaves goroutines or descriptors behind.
func open(t *testing.T, connections int) *Client {
	t.Helper()
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
	c, err := Open(connections)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type result = rawwaker.Result[Response]

// outcome waits for a task.
func outcome(task *executor.JoinHandle[result]) (result, error) {
	r := blockon.BlockOn(task.Outcome())
	return r.Value, r.Err
}

func TestGet(t *testing.T) {
	warm, err := Open(0) // the library's own goroutine and descriptor
	if err != nil {
		t.Fatal(err)
	}
	warm.Do(t.Context(), "nothing:")
	warm.Close()
	t.Run("gives_status_and_body", func(t *testing.T) {
		c := open(t, 0)
		defer c.Close()
		s := serve(t)
		for _, n := range []int{0, 1, 100_000} {
			r, err := c.Do(t.Context(), fmt.Sprint(s.URL, "/", n))
			if err != nil || r.Status != 200+n%3 || string(r.Body) != strings.Repeat("line\n", n) {
				t.Errorf("%d: %d, %d bytes, %v", n, r.Status, len(r.Body), err)
			}
		}
	})
	t.Run("gives_errors_as_values", func(t *testing.T) {
		c := open(t, 0)
		defer c.Close()
		short := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10")
			fmt.Fprint(w, "half ")
		}))
		gone := httptest.NewServer(nil)
		gone.Close()
		defer short.Close()
		for _, want := range []struct{ url, text, body string }{
			{"", "URL using bad/illegal format or missing URL", ""},
			{"file:///etc/passwd", "Unsupported protocol", ""},
			{gone.URL, "Couldn't connect to server", ""},
			{short.URL, "Transferred a partial file", "half "},
		} {
			r := blockon.BlockOn(c.Get(want.url))
			if r.Err == nil || r.Err.Error() != "curl: "+want.text || string(r.Value.Body) != want.body {
				t.Errorf("%q: %q, %v", want.url, r.Value.Body, r.Err)
			}
		}
	})
	t.Run("ends_the_transfer_when_the_context_ends", func(t *testing.T) {
		c := open(t, 0)
		defer c.Close()
		s := serve(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-s.half; cancel() }()
		if _, err := c.Do(ctx, s.URL+"/slow"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		<-s.left
	})
	t.Run("ends_10000_transfers_of_which_a_third_is_cancelled_half_way", func(t *testing.T) {
		const n, wave = 10_000, 250
		c := open(t, 128)
		defer c.Close()
		s := serve(t)
		ex := executor.New(executor.Workers(2))
		defer ex.Close()
		var answered, cancelled int
		for first := 0; first < n; first += wave {
			var all, slow []*executor.JoinHandle[result]
			for i := first; i < first+wave; i++ {
				path := fmt.Sprint("/", i%100)
				if i%3 == 0 {
					path = "/slow"
				}
				all = append(all, executor.Spawn(ex, c.Get(s.URL+path)))
				if i%3 == 0 {
					slow = append(slow, all[i-first])
				}
			}
			for range slow {
				<-s.half
			}
			for _, task := range slow {
				task.Abort()
			}
			for range slow {
				<-s.left
			}
			for i, task := range all {
				r, err := outcome(task)
				if errors.Is(err, executor.ErrAborted) && (first+i)%3 == 0 {
					cancelled++
				} else if size := (first + i) % 100; err == nil && r.Err == nil &&
					r.Value.Status == 200+size%3 && string(r.Value.Body) == strings.Repeat("line\n", size) {
					answered++
				} else {
					t.Fatalf("%d: %+v, %v", first+i, r, err)
				}
			}
		}
		if answered != 6666 || cancelled != 3334 {
			t.Errorf("answered %d, cancelled %d", answered, cancelled)
		}
	})
	t.Run("gives_an_error_when_the_client_is_closed", func(t *testing.T) {
		c := open(t, 1)
		s := serve(t)
		ex := executor.New(executor.Workers(1))
		defer ex.Close()
		begun := executor.Spawn(ex, c.Get(s.URL+"/slow"))
		<-s.half
		waiting := executor.Spawn(ex, c.Get(s.URL+"/1"))
		late := c.Get(s.URL + "/1")
		c.Close()
		<-s.left
		const aborted, closed = "curl: Operation was aborted by an application callback",
			"curl: Invalid multi handle"
		for _, want := range []struct {
			task  *executor.JoinHandle[result]
			texts string
		}{
			{begun, aborted}, {waiting, aborted + closed},
			{executor.Spawn(ex, late), closed}, {executor.Spawn(ex, c.Get(s.URL+"/1")), closed},
		} {
			r, err := outcome(want.task)
			if err != nil || r.Err == nil || !strings.Contains(want.texts, r.Err.Error()) {
				t.Errorf("%+v, %v", r, err)
			}
		}
	})
}
