package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/seed-8a1b3254/ffiwaker/blockon"
	"github.com/seed-8a1b3254/ffiwaker/examples/article"
	"github.com/seed-8a1b3254/ffiwaker/future"
	"github.com/seed-8a1b3254/ffiwaker/rawwaker"
)

// noCgo is printed in place of what needs C, in a build without cgo.
const noCgo = "left out: this build has no cgo"

// example is one example of the article. It prints its result, and m counts its futures.
type example struct {
	name  string // for wakelab trace
	title string
	inC   bool
	run   func(m *meter, out io.Writer)
}

// examples are those of the article, in its order.
var examples = []example{
	{"simple", "simple: the article's block_on, with its dummy waker", false,
		func(m *meter, out io.Writer) {
			result := article.BlockOn(count(m, article.Simple()))
			fmt.Fprintf(out, "Result: %d\n", result)
		}},
	{"simple-spin", "simple: blockon.Spin, the same in this library", false,
		func(m *meter, out io.Writer) {
			result := blockon.Spin(count(m, article.Simple()))
			fmt.Fprintf(out, "Result: %d\n", result)
		}},
	{"simple-blockon", "simple: blockon.BlockOn, which sleeps until woken", false,
		func(m *meter, out io.Writer) {
			result := blockon.BlockOn(count(m, article.Simple()))
			fmt.Fprintf(out, "Result: %d\n", result)
		}},
	{"simple-future", "SimpleFuture: the state machine by hand", false,
		func(m *meter, out io.Writer) {
			result := blockon.BlockOn(count[int](m, new(article.SimpleFuture)))
			fmt.Fprintf(out, "Result: %d\n", result)
		}},
	{"simple-future-c", "SimpleFuture in C, on C's block_on", true,
		func(_ *meter, out io.Writer) {
			fmt.Fprintf(out, "Result: %d\n", article.CSimple())
		}},
	{"after-completion", "SimpleFuture, polled after completion", false,
		func(m *meter, out io.Writer) {
			f := count[int](m, new(article.SimpleFuture))
			blockon.BlockOn(f)
			panics(out, func() { blockon.BlockOn(f) })
		}},
	{"after-completion-c", "SimpleFuture in C, polled after completion", true,
		func(_ *meter, out io.Writer) {
			panics(out, func() { article.CSimpleTwice() })
		}},

	{"timer", "TimerFuture: registers its waker with a timer", false,
		func(m *meter, out io.Writer) {
			start := time.Now()
			blockon.BlockOn(count[struct{}](m, article.Timer(100*time.Millisecond)))
			fmt.Fprintf(out, "Timer expired after %v\n", time.Since(start))
		}},
	{"timer-c", "TimerFuture in C: a thread wakes C's block_on", true,
		func(_ *meter, out io.Writer) {
			start := time.Now()
			article.CTimer(100 * time.Millisecond)
			fmt.Fprintf(out, "Timer expired after %v\n", time.Since(start))
		}},
	{"timer-c-go", "TimerFuture in C: its thread wakes Go's BlockOn", true,
		func(m *meter, out io.Writer) {
			start := time.Now()
			blockon.BlockOn(count(m, article.CTimerFuture(100*time.Millisecond)))
			fmt.Fprintf(out, "Timer expired after %v\n", time.Since(start))
		}},

	{"delay-spin", "delay_and_return: DelayFuture, spinning", false,
		func(m *meter, out io.Writer) {
			start := time.Now()
			result := blockon.Spin(count(m, article.DelayAndReturn()))
			fmt.Fprintf(out, "Result: %d after %v\n", result, time.Since(start))
		}},
	{"delay-blockon", "delay_and_return: on BlockOn, which its wakes keep busy", false,
		func(m *meter, out io.Writer) {
			start := time.Now()
			result := blockon.BlockOn(count(m, article.DelayAndReturn()))
			fmt.Fprintf(out, "Result: %d after %v\n", result, time.Since(start))
		}},
	{"delay-c", "delay_and_return in C, on C's block_on: busy too", true,
		func(_ *meter, out io.Writer) {
			start := time.Now()
			result := article.CDelay(100 * time.Millisecond)
			fmt.Fprintf(out, "Result: %d after %v\n", result, time.Since(start))
		}},
	{"delay-sleep", "delay_and_return: with future.Sleep, which is not busy", false,
		func(m *meter, out io.Writer) {
			start := time.Now()
			result := blockon.BlockOn(count(m, sleepAndReturn()))
			fmt.Fprintf(out, "Result: %d after %v\n", result, time.Since(start))
		}},

	{"countdown", "CountdownFuture", false,
		func(m *meter, out io.Writer) {
			f := &article.CountdownFuture{Count: 3, Out: out}
			blockon.BlockOn(count[struct{}](m, f))
		}},
	{"countdown-c", "CountdownFuture in C, on C's block_on", true,
		func(_ *meter, out io.Writer) {
			article.CCountdown(out)
		}},

	{"sleep-for-real", "sleep_for_real: on BlockOn", false,
		func(m *meter, out io.Writer) {
			start := time.Now()
			blockon.BlockOn(count(m, article.SleepForReal(100*time.Millisecond)))
			fmt.Fprintf(out, "Slept for %v\n", time.Since(start))
		}},
	{"no-concurrency", "no concurrency: block_on(future1); block_on(future2)", false,
		func(m *meter, out io.Writer) {
			start := time.Now()
			blockon.BlockOn(count(m, article.SleepForReal(50*time.Millisecond)))
			blockon.BlockOn(count(m, article.SleepForReal(50*time.Millisecond)))
			fmt.Fprintf(out, "Both after %v\n", time.Since(start))
		}},
	{"read-file", "read_file: future.Go, all of Go's I/O", false, readFile},
	{"article-executor", "an Executor with real wakers: future1 beside future2", false,
		func(m *meter, out io.Writer) {
			start := time.Now()
			ex := article.NewExecutor()
			ex.Spawn(count(m, article.SleepForReal(50*time.Millisecond)))
			ex.Spawn(count(m, article.SleepForReal(50*time.Millisecond)))
			ex.Run()
			fmt.Fprintf(out, "Both after %v\n", time.Since(start))
		}},
	{"await-cancelled", "what Go adds: blockon.Await, cancelled by a context", false,
		func(m *meter, out io.Writer) {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
			defer cancel()
			_, err := blockon.Await(ctx, count(m, article.SleepForReal(time.Hour)))
			fmt.Fprintf(out, "Error: %v\n", err)
		}},
}

// sleepAndReturn is the article's delay_and_return with a future that registers its waker.
func sleepAndReturn() rawwaker.Future[int] {
	return future.Async(func(aw *future.Awaiter) int {
		future.Await(aw, future.Sleep(100*time.Millisecond))
		return 42
	})
}

func readFile(m *meter, out io.Writer) {
	dir, err := os.MkdirTemp("", "wakelab")
	if err != nil {
		fmt.Fprintf(out, "Error: %v\n", err)
		return
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "file.txt")
	if err := os.WriteFile(name, []byte("Hello, waker!"), 0o600); err != nil {
		fmt.Fprintf(out, "Error: %v\n", err)
		return
	}
	r := blockon.BlockOn(count(m, article.ReadFile(name)))
	if r.Err != nil {
		fmt.Fprintf(out, "Error: %v\n", r.Err)
		return
	}
	fmt.Fprintf(out, "Read %d bytes: %s\n", len(r.Value), r.Value)
}

// panics prints the panic of f.
func panics(out io.Writer, f func()) {
	defer func() { fmt.Fprintf(out, "panic: %v\n", recover()) }()
	f()
}

// tour runs the examples and prints what they print and cost.
func tour(out io.Writer) {
	fmt.Fprint(out, "The article's examples, in its order: what each prints, and what it costs.\n\n")
	row(out, "", "", "polls", "wakes", "CPU", "elapsed")
	var total cost
	for i, e := range examples {
		number := strconv.Itoa(i + 1)
		if e.inC && !article.HasC {
			row(out, number, e.title, "", "", "", "")
			indent(out, noCgo+"\n")
			continue
		}
		var m meter
		var printed bytes.Buffer
		c := measure(func() { e.run(&m, &printed) })
		total.cpu += c.cpu
		total.cpuOK = c.cpuOK
		total.elapsed += c.elapsed

		polls, wakes := "-", "-"
		if m.used {
			polls, wakes = strconv.FormatInt(m.polls.Load(), 10), strconv.FormatInt(m.wakes.Load(), 10)
		}
		row(out, number, e.title, polls, wakes, c.cpuText(), milliseconds(c.elapsed))
		indent(out, printed.String())
	}
	row(out, "", "all of them", "", "", total.cpuText(), milliseconds(total.elapsed))

	fmt.Fprint(out, `
polls   how often the future was polled; a wait needs 2, one at the start and one at the end
wakes   how often its waker was woken
CPU     the CPU time of the whole process
-       not counted: C's own executor polled it

More:
`)
	for _, c := range newRoot(&output{w: io.Discard}, io.Discard).Commands() {
		if !c.Hidden && c.Name() != "tour" {
			fmt.Fprintf(out, "  wakelab %-10s  %s\n", c.Name(), c.Short)
		}
	}
}

func row(out io.Writer, number, title, polls, wakes, cpu, elapsed string) {
	line := fmt.Sprintf("%2s  %-56s %8s %8s %9s %9s", number, title, polls, wakes, cpu, elapsed)
	fmt.Fprintln(out, strings.TrimRight(line, " "))
}

func indent(out io.Writer, text string) {
	for line := range strings.Lines(text) {
		fmt.Fprint(out, "      ", line)
	}
}

func (c cost) cpuText() string {
	if !c.cpuOK {
		return "-"
	}
	return milliseconds(c.cpu)
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2fms", d.Seconds()*1e3) }
