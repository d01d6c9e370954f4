// Server is what check makes FFI.GET request, on the loopback interface. It prints its address, and
// exits at the end of its standard input.
//
//	/         answers at once
//	/wait     answers once /release was requested
//	/held     never answers
//	/came/N   answers once N requests for /held have come
//	/left/N   answers once N of their clients have left
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("http://%s\n", l.Addr())

	const hello = "Hello, waker!"
	came, left := make(chan struct{}), make(chan struct{})
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	http.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, hello)
	})
	http.HandleFunc("/wait", func(w http.ResponseWriter, _ *http.Request) {
		<-released
		io.WriteString(w, hello)
	})
	http.HandleFunc("/release", func(w http.ResponseWriter, _ *http.Request) {
		release()
		io.WriteString(w, "released")
	})
	http.HandleFunc("/held", func(_ http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-r.Context().Done()
		left <- struct{}{}
	})
	http.HandleFunc("/came/{n}", answerAfter(came))
	http.HandleFunc("/left/{n}", answerAfter(left))
	go http.Serve(l, nil)
	io.Copy(io.Discard, os.Stdin)
}

// answerAfter returns a handler that answers once it has received n times.
func answerAfter(from chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.PathValue("n"))
		for range n {
			<-from
		}
		fmt.Fprint(w, n)
	}
}
