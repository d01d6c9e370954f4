// Command measure compares the binding with its callback form: 50,000 GETs of 100 bytes, all of
// them awaited at once: as tasks of an executor (ours), each in a goroutine of its own (await), and
// by callback, cgo.Handle and channel in as many goroutines (callback). Each runs in processes of
// its own, alternating. It prints the
// medians of five, as lines of a name, a tab and a number: the CPU time of the process in
// milliseconds, and the most resident memory that it has had, in kB.
//
// Exit status 3: there is no redis-server.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/examples/redis"
	"github.com/seed-8a1b3254/ffiwaker/examples/redis/callback"
	"github.com/seed-8a1b3254/ffiwaker/executor"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

const gets = 50_000

func main() {
	log.SetFlags(0)
	if len(os.Args) > 1 {
		child(os.Args[1], os.Args[2])
		return
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		fmt.Fprintln(os.Stderr, "no redis-server")
		os.Exit(3)
	}
	dir, err := os.MkdirTemp("", "redis")
	must(err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "s")
	server := exec.Command("redis-server", "--port", "0", "--unixsocket", path, "--save", "")
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(server.Start())
	defer server.Process.Kill()
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		c := redis.Open(path)
		_, err := c.Do(context.Background(), "SET", "key", strings.Repeat("x", 100))
		c.Close()
		if err == nil {
			break
		}
		if time.Since(start) > time.Minute {
			log.Fatal(err)
		}
	}
	found := map[string][]float64{}
	for range 5 {
		for _, form := range []string{"ours", "await", "callback"} {
			cmd := exec.Command(os.Args[0], form, path)
			cmd.Stderr = os.Stderr
			out, err := cmd.Output()
			must(err)
			var cpu, rss float64
			_, err = fmt.Sscan(string(out), &cpu, &rss)
			must(err)
			found["redis.cpu."+form] = append(found["redis.cpu."+form], cpu)
			found["redis.rss."+form] = append(found["redis.rss."+form], rss)
		}
	}
	for name, all := range found {
		slices.Sort(all)
		fmt.Printf("%s\t%g\n", name, all[len(all)/2])
	}
}

// child measures one form in this process.
func child(form, path string) {
	map[string]func(path string){"ours": ours, "await": await, "callback": callbacks}[form](path)
	var u syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	fmt.Println(float64(u.Utime.Nano()+u.Stime.Nano())/1e6, resident())
}

func ours(path string) {
	c := redis.Open(path)
	ex := executor.New()
	tasks := make([]*executor.JoinHandle[rawwaker.Result[redis.Reply]], gets)
	for i := range tasks {
		tasks[i] = executor.Spawn(ex, c.Command("GET", "key"))
	}
	for _, task := range tasks {
		check(blockon.BlockOn(task).Value.Text)
	}
	ex.Close()
	c.Close()
}

func await(path string) {
	c := redis.Open(path)
	defer c.Close()
	var all sync.WaitGroup
	for range gets {
		all.Go(func() {
			r, err := c.Do(context.Background(), "GET", "key")
			must(err)
			check(r.Text)
		})
	}
	all.Wait()
}

func callbacks(path string) {
	c := callback.Open(path)
	var all sync.WaitGroup
	for range gets {
		all.Go(func() {
			r, err := c.Do(context.Background(), "GET", "key")
			must(err)
			check(r.Text)
		})
	}
	all.Wait()
	c.Close()
}

func check(text string) {
	if len(text) != 100 {
		log.Fatalf("wrong answer: %q", text)
	}
}

// resident returns the most resident memory that the process has had, in kB.
func resident() float64 {
	f, err := os.Open("/proc/self/status")
	must(err)
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kb float64
		if _, err := fmt.Sscanf(lines.Text(), "VmHWM: %f kB", &kb); err == nil {
			return kb
		}
	}
	log.Fatal("no VmHWM")
	return 0
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
