package callback

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

func TestDo(t *testing.T) {
	half, rest := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "half ")
		if r.URL.Path == "/slow" {
			http.NewResponseController(w).Flush()
			half <- struct{}{}
			select {
			case <-rest:
			case <-r.Context().Done():
			}
		}
		fmt.Fprint(w, "rest")
	}))
	defer s.Close()
	c, err := Open(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("gives_a_response_or_an_error", func(t *testing.T) {
		r, err := c.Do(t.Context(), s.URL)
		if err != nil || r.Status != 200 || string(r.Body) != "half rest" {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err := c.Do(t.Context(), "nothing:"); err == nil {
			t.Errorf("%+v", r)
		}
	})
	t.Run("leaves_the_transfer_running_when_the_context_ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-half; cancel() }()
		if _, err := c.Do(ctx, s.URL+"/slow"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		rest <- struct{}{}
	})
	t.Run("gives_an_error_when_the_client_is_closed", func(t *testing.T) {
		var done sync.WaitGroup
		done.Go(func() {
			if r, err := c.Do(t.Context(), s.URL+"/slow"); err == nil {
				t.Errorf("%+v, %v", r, err)
			}
		})
		<-half
		c.Close()
		done.Wait()
	})
}
