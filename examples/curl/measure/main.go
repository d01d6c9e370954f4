// Command measure compares the binding with its callback form: transfers of slow bodies are
// cancelled half-way. It prints how many there were, and how many ran to completion all the same,
// as lines of a name, a tab and a number: curl.operations, curl.ran.ours and curl.ran.callback.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/examples/curl"
	"github.com/seed-8a1b3254/ffiwaker/examples/curl/callback"
)

const (
	operations = 200
	pause      = 300 * time.Millisecond // of the server, after the cancels
)

// completed counts, of the operations that do begins and whose context ends half-way, those whose
// body the server has sent to its end.
func completed(do func(ctx context.Context, url string)) int64 {
	var sent atomic.Int64
	half, rest := make(chan struct{}), make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "half ")
		http.NewResponseController(w).Flush()
		half <- struct{}{}
		select {
		case <-r.Context().Done():
		case <-rest:
			fmt.Fprint(w, "rest")
			sent.Add(1)
		}
	}))
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for range operations {
		all.Go(func() { do(ctx, s.URL) })
	}
	for range operations {
		<-half
	}
	cancel()
	all.Wait()
	time.Sleep(pause)
	close(rest)
	s.Close() // waits for the handlers
	return sent.Load()
}

func main() {
	ours, err := curl.Open(0)
	if err != nil {
		log.Fatal(err)
	}
	theirs, err := callback.Open(0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("curl.operations\t%d\n", operations)
	fmt.Printf("curl.ran.ours\t%d\n",
		completed(func(ctx context.Context, url string) { ours.Do(ctx, url) }))
	fmt.Printf("curl.ran.callback\t%d\n",
		completed(func(ctx context.Context, url string) { theirs.Do(ctx, url) }))
	ours.Close()
	theirs.Close()
}
