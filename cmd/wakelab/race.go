package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const races = 5 // runs of each program, of 300 futures

func raceCommand(out *output, stderr io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "race",
		Short: "what Go's race detector sees of a racy future, and what cgo hides",
		Long: `Builds internal/test/racy with the race detector and runs it: a racy future, woken by a Go
waker and through C, and correct futures. It needs the go command and this module's source.`,
		Example: "  wakelab race",
		RunE:    func(*cobra.Command, []string) error { return race(out, stderr) },
	}
}

// sides are the two columns to compare.
var sides = []struct{ mode, title, code string }{
	{"late", "woken by a Go waker", `w.Wake()
m.value = 42    // after the wake: the poll
                // may read it meanwhile`},
	{"late-c", "woken through C", `rawwaker_wake_by_ref(&w)
m.value = 42    // the same mistake
rawwaker_drop(w)`},
}

func race(out, stderr io.Writer) error {
	ctx, dir, done, err := scratch(30 * time.Minute)
	if err != nil {
		return err
	}
	defer done()
	source, err := moduleDir(ctx)
	if err != nil {
		return err
	}
	program := filepath.Join(dir, "racy.exe")
	if terminal(stderr) {
		fmt.Fprint(stderr, "building with -race ...\r")
		defer fmt.Fprint(stderr, "\r                       \r")
	}
	_, err = outputOf(ctx, source, "go", "build", "-race", "-o", program, "./internal/test/racy")
	if err != nil {
		return err
	}
	var columns [2][]string
	for i, s := range sides {
		reported, report, err := detect(ctx, program, s.mode)
		if err != nil {
			return err
		}
		columns[i] = append(columns[i], s.title, "")
		columns[i] = append(columns[i], strings.Split(s.code, "\n")...)
		columns[i] = append(columns[i], "",
			fmt.Sprintf("reported in %d of %d runs", reported, races), "")
		columns[i] = append(columns[i], report...)
	}
	for i := range max(len(columns[0]), len(columns[1])) {
		cell := func(c []string) string {
			if i < len(c) {
				return c[i]
			}
			return ""
		}
		line(out, "%-50.50s| %s", cell(columns[0]), cell(columns[1]))
	}
	line(out, "")
	for _, mode := range []struct{ name, what string }{
		{"correct", "m.value = 42; w.Wake()"},
		{"correct-c", "m.value = 42; then a C thread wakes"},
	} {
		reported, _, err := detect(ctx, program, mode.name)
		if err != nil {
			return err
		}
		line(out, "correct: %-40s reported in %d of %d runs", mode.what, reported, races)
	}
	line(out, `
Why: both programs write after the wake what the next poll reads. In both, that poll waits until
the sender has finished, by a flag that the detector does not see. So the order of events is the
same. On the left the wake is an exchange on a word in Go memory: the detector knows that it orders
what came before it, and sees that the write came after it. On the right the waker is C's, and each
call of a slot is a cgo call. Go's runtime reports to the detector that all cgo calls synchronise
with each other (runtime/cgocall.go, racecgosync), because it cannot see what C does. So the drop
after the write "happens before" the poll's next call into C. The race is still there, but the
detector takes the two accesses for ordered.

Therefore a wake from Go to Go never crosses into C: this library itself hides no race. If your
waker is C's, also test the same future with a Go waker under -race, and the C part under
ThreadSanitizer in a program without Go.`)
	return nil
}

// detect runs the program several times; report is what the detector prints, cut to the column.
func detect(
	ctx context.Context, program, mode string,
) (reported int, report []string, err error) {
	for range races {
		cmd := exec.CommandContext(ctx, program, mode)
		cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
		text, err := cmd.CombinedOutput()
		raced := strings.Contains(string(text), "WARNING: DATA RACE")
		if err != nil && !raced {
			return 0, nil, fmt.Errorf("racy %s: %w: %s", mode, err, firstLine(string(text)))
		}
		if raced {
			if reported++; report == nil {
				report = excerpt(string(text))
			}
		}
	}
	if report == nil {
		report = []string{"(silence)"}
	}
	return reported, report, nil
}

// excerpt returns the lines that tell which goroutine wrote and which read, and where.
func excerpt(text string) (lines []string) {
	for l := range strings.Lines(from(text, "WARNING: DATA RACE")) {
		l = strings.TrimRight(l, "\n")
		switch {
		case strings.HasPrefix(l, "WARNING"),
			strings.Contains(l, " by goroutine "), strings.Contains(l, " by main goroutine"):
			lines = append(lines, shorten(l))
		case strings.HasPrefix(l, "  main."):
			lines = append(lines, shorten(l))
		case strings.Contains(l, "internal/test/racy/"):
			place, _, _ := strings.Cut(l[strings.Index(l, "internal/test/racy/"):], " ")
			lines = append(lines, "      "+place)
		case strings.HasPrefix(l, "Goroutine"):
			return lines
		}
	}
	return lines
}

func shorten(l string) string {
	l = strings.ReplaceAll(l, "github.com/seed-8a1b3254/ffiwaker/", "")
	return l[:min(len(l), 49)]
}
