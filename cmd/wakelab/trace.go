package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-8a1b3254/ffiwaker/cmd/wakelab/internal/trace"
	"github.com/seed-8a1b3254/ffiwaker/examples/article"
)

// asLab makes a program that contains this one, such as its test program, run as wakelab.
const asLab = "FFIWAKER_LAB=1"

func traceCommand(out *output, stderr io.Writer) *cobra.Command {
	var from, page, perfetto string
	var asJSON bool
	var size int
	var long strings.Builder
	long.WriteString(`Runs an example with FFIWAKERDEBUG=trace=FILE and shows each poll, wake and park,
with its goroutine, its thread and the counts of references. --from FILE shows a trace of your own
program. docs/TRACE.md describes the format.

The examples:
`)
	for _, d := range demos() {
		fmt.Fprintf(&long, "  %-19s %s\n", d.name, d.does)
	}
	c := &cobra.Command{
		Use:   "trace EXAMPLE",
		Short: "a timeline of a real run: in the terminal, as JSON, for Perfetto, or as a page",
		Long:  strings.TrimSuffix(long.String(), "\n"),
		Example: `  wakelab trace countdown
  wakelab trace c-thread --html c-thread.html
  FFIWAKERDEBUG=trace=mine.trace ./my-program
  wakelab trace --from mine.trace --perfetto mine.json`,
		ValidArgs: demoNames(),
		Args: func(c *cobra.Command, args []string) error {
			switch {
			case from != "" && len(args) > 0:
				return usage("either an example or --from, not both")
			case from == "" && len(args) == 0:
				return usage("which example? See: wakelab trace --help")
			case len(args) > 1:
				return usage("one at a time; there is %q, too", args[1])
			}
			for _, flag := range []string{"html", "perfetto", "from"} {
				if f := c.Flags().Lookup(flag); f.Changed && f.Value.String() == "" {
					return usage("--%s: which file?", flag)
				}
			}
			if c.Flags().Changed("size") && size == 0 {
				return usage("--size 0: at least one wake")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			var t *trace.Trace
			title, printed := filepath.Base(from), ""
			var err error
			if from != "" {
				t, err = readTrace(from)
			} else {
				var d demo
				if d, err = findDemo(args[0]); err == nil {
					title = d.name
					t, printed, err = runDemo(d, size)
				}
			}
			if err != nil {
				return err
			}
			for _, file := range []struct {
				name  string
				write func(io.Writer) error
			}{
				{page, func(w io.Writer) error { return t.WriteHTML(w, title) }},
				{perfetto, t.WritePerfetto},
			} {
				if file.name == "" {
					continue
				}
				if err := aside(file.name, file.write); err != nil {
					return err
				}
				fmt.Fprintf(stderr, "wakelab: %s: %d events\n", file.name, len(t.Events))
			}
			switch {
			case asJSON:
				return t.WriteJSON(out)
			case page != "" || perfetto != "":
				return nil
			}
			if printed != "" {
				fmt.Fprintln(out, "It prints:")
				indent(out, printed)
				fmt.Fprintln(out)
			}
			return t.WriteText(out, colourful(out))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one event in each line, for other programs")
	c.Flags().StringVar(&page, "html", "", "write a page that needs no other file to `FILE`")
	c.Flags().StringVar(&perfetto, "perfetto", "",
		"write a trace for ui.perfetto.dev or chrome://tracing to `FILE`")
	c.Flags().StringVar(&from, "from", "",
		"show a trace that FFIWAKERDEBUG=trace=`FILE` has written, instead of an example")
	c.Flags().IntVar(&size, "size", 0, "how often the storm wakes (200)")
	return c
}

func findDemo(name string) (demo, error) {
	return find("example", name, demos(), func(d demo) string { return d.name })
}

func demoNames() (names []string) {
	for _, d := range demos() {
		names = append(names, d.name)
	}
	return names
}

func readTrace(name string) (*trace.Trace, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := trace.Read(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// mostWakes limits a storm: each event takes about 200 bytes of a file, and more of memory.
const mostWakes = 1_000_000

// runDemo runs a demo in a process of its own, and reads its trace.
func runDemo(d demo, size int) (t *trace.Trace, printed string, err error) {
	switch {
	case d.inC && !article.HasC:
		return nil, "", errors.New(d.name + " needs cgo, and this build has none")
	case size < 0 || size > mostWakes || size > 0 && d.size == 0:
		return nil, "", usage("--size %d: %s has no such size; a storm has up to %d",
			size, d.name, mostWakes)
	case size == 0:
		size = d.size
	}
	ctx, dir, done, err := scratch(time.Hour)
	if err != nil {
		return nil, "", err
	}
	defer done()
	file := filepath.Join(dir, "trace")
	out, err := self(ctx, []string{"FFIWAKERDEBUG=trace=" + file}, "demo", d.name, fmt.Sprint(size))
	if err != nil {
		return nil, "", fmt.Errorf("the example %s: %w", d.name, err)
	}
	if t, err = readTrace(file); errors.Is(err, fs.ErrNotExist) {
		return nil, "", errors.New("this build has no trace: it was made with the tag ffiwakernotrace")
	}
	return t, string(out), err
}

// executable returns the path of this program. Tests replace it, for emulators.
var executable = os.Executable

// self runs this program with other arguments, and returns what it prints. An error includes the
// first line on standard error.
func self(ctx context.Context, env []string, args ...string) ([]byte, error) {
	exe, err := executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, exe, args...)
	cmd.Env = append(append(os.Environ(), asLab), env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if first := firstLine(stderr.String()); first != "" {
			err = fmt.Errorf("%w: %s", err, first)
		}
		return stdout.Bytes(), err
	}
	return stdout.Bytes(), nil
}

// demoCommand is the command that runDemo runs.
func demoCommand(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:    "demo NAME SIZE",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			d, err := findDemo(args[0])
			if err != nil {
				return err
			}
			var size int
			if _, err := fmt.Sscan(args[1], &size); err != nil {
				return usage("%q is not a size", args[1])
			}
			d.run(out, size)
			return nil
		},
	}
}
