// Command measure compares the binding with its callback form and with PQexec. It prints lines of a
// name, a tab and a number.
//
//	postgres.threads.ours, .callback, .pqexec
//	    the highest number of threads of a process that makes 10,000 statements of 5 ms, 64 at a
//	    time on 64 connections; pqexec is 64 goroutines in PQexec; the median of three processes
//	postgres.cancelled
//	    statements whose context ended half-way, in each of the next two
//	postgres.ran.ours, .callback
//	    how many of these ran to completion in the server all the same
//
// Exit status 3: PostgreSQL is not installed.
package main

/*
#cgo pkg-config: libpq
#include <libpq-fe.h>
*/
import "C"

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/seed-8a1b3254/ffiwaker/examples/postgres"
	"github.com/seed-8a1b3254/ffiwaker/examples/postgres/callback"
	"github.com/seed-8a1b3254/ffiwaker/examples/postgres/internal/server"
)

const (
	connections = 64
	statements  = 10_000
	sleep       = 2 * time.Second
)

// A peer opens its connections and returns how to make a statement on the i-th of them, or on any.
type peer func(conninfo string) (do func(ctx context.Context, i int, sql string) error)

var peers = map[string]peer{
	"ours": func(conninfo string) func(context.Context, int, string) error {
		c := postgres.Open(conninfo, connections)
		return func(ctx context.Context, _ int, sql string) error {
			_, err := c.Do(ctx, sql)
			return err
		}
	},
	"callback": func(conninfo string) func(context.Context, int, string) error {
		c := callback.Open(conninfo, connections)
		return func(ctx context.Context, _ int, sql string) error {
			_, err := c.Do(ctx, sql)
			return err
		}
	},
	"pqexec": func(conninfo string) func(context.Context, int, string) error {
		var links [connections]*C.PGconn
		for i := range links {
			links[i] = C.PQconnectdb(cString(conninfo))
		}
		return func(_ context.Context, i int, sql string) error {
			r := C.PQexec(links[i], cString(sql))
			defer C.PQclear(r)
			if text := C.GoString(C.PQresultErrorMessage(r)); text != "" || r == nil {
				return fmt.Errorf("PQexec: %s", text)
			}
			return nil
		}
	},
}

func cString(s string) *C.char {
	return (*C.char)(unsafe.Pointer(unsafe.StringData(s + "\x00")))
}

// check ends the program if it is given an error.
func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(1)
	}
}

// each calls f on a goroutine for each connection, and returns when all have returned.
func each(f func(i int)) {
	var all sync.WaitGroup
	for i := range connections {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

var threadsLine = regexp.MustCompile(`(?m)^Threads:\s+(\d+)$`)

// threads makes the statements and returns how many threads the process has then. That is the
// highest number: Go ends no thread, and those of C run until the connections are closed.
func threads(do func(context.Context, int, string) error) string {
	each(func(i int) {
		for k := i; k < statements; k += connections {
			check(do(context.Background(), i, "SELECT pg_sleep(0.005)"))
		}
	})
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	return threadsLine.FindStringSubmatch(string(status))[1]
}

// completed cancels statements half-way, and returns how many have ended as if they were not.
func completed(conninfo, name string) string {
	watch := postgres.Open(conninfo, 1)
	defer watch.Close()
	count := func(sql string) string {
		r, err := watch.Do(context.Background(), sql)
		check(err)
		return string(r.Rows[0][0])
	}
	_, err := watch.Do(context.Background(), "CREATE TABLE "+name+" (n int)")
	check(err)
	do := peers[name](conninfo)
	each(func(i int) { // opens all connections
		check(do(context.Background(), i, "SELECT pg_sleep(0.5)"))
	})
	sql := fmt.Sprintf("INSERT INTO %s SELECT 1 FROM (SELECT pg_sleep(%v)) s", name, sleep.Seconds())
	each(func(i int) {
		ctx, cancel := context.WithTimeout(context.Background(), sleep/2)
		defer cancel()
		do(ctx, i, sql)
	})
	const active = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE "
	for count(active+"'INSERT INTO "+name+"%'") != "0" {
		time.Sleep(10 * time.Millisecond)
	}
	return count("SELECT count(*) FROM " + name)
}

func main() {
	if len(os.Args) == 3 { // a child: whose threads, and the server
		fmt.Println(threads(peers[os.Args[1]](os.Args[2])))
		return
	}
	s, err := server.New()
	if errors.Is(err, server.ErrMissing) {
		fmt.Fprintln(os.Stderr, "measure:", err)
		os.Exit(3)
	}
	check(err)
	defer s.Remove()
	c := postgres.Open(s.Conninfo, 1)
	for err := os.ErrInvalid; err != nil; time.Sleep(10 * time.Millisecond) {
		_, err = c.Do(context.Background(), "SELECT 1")
	}
	c.Close()
	for _, name := range []string{"ours", "callback", "pqexec"} {
		var n [3]int
		for i := range n {
			out, err := exec.Command("/proc/self/exe", name, s.Conninfo).Output()
			check(err)
			n[i], err = strconv.Atoi(strings.TrimSpace(string(out)))
			check(err)
		}
		slices.Sort(n[:])
		fmt.Printf("postgres.threads.%s\t%d\n", name, n[1])
	}
	fmt.Printf("postgres.cancelled\t%d\n", connections)
	for _, name := range []string{"ours", "callback"} {
		fmt.Printf("postgres.ran.%s\t%s\n", name, completed(s.Conninfo, name))
	}
}
