// Wakelab shows what wakers do and what they cost.
//
//	go run ./cmd/wakelab                   each example of the article, and what it costs
//	go run ./cmd/wakelab trace countdown   each poll, wake and park, with its goroutine and thread
//	go run ./cmd/wakelab help              everything else
//
// It also shows the bytes of a waker in C, Go and Rust, and which tool reports which mistake.
//
// tour.go drives futures, and meter.go wraps one. They use only the library's public names, so they
// are also examples of them.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() {
	// A closed pipe, as after head, is then an error of a write: the command cleans up and ends.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// The exit status.
const (
	statusDone   = 0
	statusFailed = 1 // it could not be done: a file or a tool is missing, or a program has crashed
	statusUsage  = 2 // an unknown word, flag or file name
	statusBroken = 3 // check: the library breaks a rule of the contract
)

// failure is an error with its exit status.
type failure struct {
	status int
	error
}

func usage(format string, args ...any) error {
	return failure{statusUsage, fmt.Errorf(format, args...)}
}

// run is the program. It returns the exit status.
func run(args []string, stdout, stderr io.Writer) int {
	out := &output{w: stdout}
	root := newRoot(out, stderr)
	root.SetArgs(args)
	ran, err := root.ExecuteC()
	if err == nil {
		err = out.err
	}
	if err == nil {
		return statusDone
	}
	where := "wakelab: "
	if ran != root {
		where += ran.Name() + ": "
	}
	if !errors.Is(err, syscall.EPIPE) { // the reader has closed the pipe itself
		fmt.Fprintln(stderr, where+firstLine(err.Error()))
	}
	if f, ok := errors.AsType[failure](err); ok {
		return f.status
	}
	return statusFailed
}

func newRoot(out *output, stderr io.Writer) *cobra.Command {
	cobra.EnableCommandSorting = false // they stand in the order of a first visit
	root := &cobra.Command{
		Use:   "wakelab",
		Short: "shows what wakers do and what they cost",
		Long: `Wakelab shows what wakers do and what they cost. Without a command it gives the tour.

Exit status: 0 done; 1 it could not be done, or a program that it ran has crashed;
2 wrong usage; 3 (check) the library breaks a rule.
An error is reported in one line on standard error.`,
		Example:       "  wakelab\n  wakelab trace countdown\n  wakelab layout --live",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          known,
		RunE:          func(*cobra.Command, []string) error { tour(out); return nil },
	}
	root.SetOut(out)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return failure{statusUsage, flagError(c, err)}
	})
	root.AddCommand(tourCommand(out), layoutCommand(out), traceCommand(out, stderr),
		breakCommand(out), raceCommand(out, stderr), benchCommand(out, stderr), checkCommand(out),
		demoCommand(out))
	for _, c := range root.Commands() {
		if c.Args == nil {
			c.Args = none
		}
	}
	root.SetHelpTemplate(helpTemplate)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			c.Args = known
			// Without RunE cobra does not check the arguments.
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
			for _, shell := range c.Commands() {
				shell.Args = none
			}
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error { return known(root, args) }
		}
	}
	return root
}

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}{{if or .Runnable .HasSubCommands}}{{.UsageString}}{{end}}`

// known refuses a word that is not a command.
func known(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			names = append(names, sub.Name())
		}
	}
	if slices.Contains(names, args[0]) {
		return nil
	}
	return usage("no command %q%s See: wakelab help", args[0],
		suggest("; did you mean %q?", nearest(args[0], names)))
}

func none(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("takes no arguments; there is %q. See: wakelab %s --help", args[0], c.Name())
	}
	return nil
}

// flagError names the nearest flag if there is none of that name.
func flagError(c *cobra.Command, err error) error {
	var no *pflag.NotExistError
	if !errors.As(err, &no) {
		return err
	}
	names := []string{"help"}
	c.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	given := "--" + no.GetSpecifiedName()
	if no.GetSpecifiedShortnames() != "" {
		given = "-" + no.GetSpecifiedName()
	}
	guess := nearest(no.GetSpecifiedName(), names)
	if guess != "" {
		guess = "--" + guess
	}
	return fmt.Errorf("no flag %q%s See: %s --help", given, suggest("; did you mean %q?", guess),
		c.CommandPath())
}

// suggest returns the end of the error for an unknown name; guess may be empty.
func suggest(format, guess string) string {
	if guess == "" {
		return "."
	}
	return fmt.Sprintf(format, guess)
}

// output remembers the first error and then writes nothing more, so commands need not check each
// write. It does not buffer: people watch the tour while it runs.
type output struct {
	w   io.Writer
	err error
}

func (o *output) Write(p []byte) (n int, err error) {
	if o.err == nil {
		n, o.err = o.w.Write(p)
	}
	return n, o.err
}

// nearest returns the known name that takes the fewest edits; empty if it takes too many.
func nearest(name string, names []string) string {
	best, fewest := "", -1
	for _, known := range names {
		n := edits(strings.ToLower(name), known)
		if strings.HasPrefix(known, strings.ToLower(name)) && name != "" {
			n = min(n, 1)
		}
		if fewest < 0 || n < fewest {
			best, fewest = known, n
		}
	}
	if fewest > max(2, len(name)/2) && name != "" {
		return ""
	}
	return best
}

// edits returns the Levenshtein distance: the number of bytes to insert, delete or replace.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// find returns the entry of that name, or an error that names the nearest.
func find[T any](kind, name string, all []T, nameOf func(T) string) (T, error) {
	i := slices.IndexFunc(all, func(e T) bool { return nameOf(e) == name })
	if i >= 0 {
		return all[i], nil
	}
	var names []string
	for _, e := range all {
		names = append(names, nameOf(e))
	}
	var zero T
	return zero, usage("no %s %q%s", kind, name,
		suggest("; did you mean %q?", nearest(name, names)))
}

func tourCommand(out io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:     "tour",
		Short:   "every example of the article: what it prints and what it costs (the default)",
		Example: "  wakelab tour",
		RunE:    func(*cobra.Command, []string) error { tour(out); return nil },
	}
}
