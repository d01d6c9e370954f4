//go:build unix

package future_test

import (
	"fmt"
	"os"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/future"
)

func ExampleReadable() {
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	defer r.Close()
	conn, err := r.SyscallConn()
	if err != nil {
		panic(err)
	}
	go func() {
		defer w.Close()
		fmt.Fprint(w, "hello")
	}()
	if err := blockon.BlockOn(future.Readable(conn)); err != nil {
		panic(err)
	}
	var buf [16]byte
	n, _ := r.Read(buf[:]) // does not block
	fmt.Println(string(buf[:n]))
	// Output: hello
}
