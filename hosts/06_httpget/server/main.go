// Server answers `Hello, waker!` on the loopback interface. It holds each answer until 100 requests
// have arrived. It prints its address, and exits at the end of its standard input.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
)

const requests = 100

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("http://%s/\n", l.Addr())
	var all sync.WaitGroup
	all.Add(requests)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		all.Done()
		all.Wait()
		io.WriteString(w, "Hello, waker!")
	}))
	io.Copy(io.Discard, os.Stdin)
}
