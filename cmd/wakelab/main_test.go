package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"

	"github.com/seed-8a1b3254/ffiwaker/internal/capi"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/broken"
)

// The lab runs itself for whatever may crash. Here its program is that of the tests.
func TestMain(m *testing.M) {
	if os.Getenv("FFIWAKER_LAB") == "1" {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	executable = func() (string, error) { return os.Args[0], nil }
	os.Exit(m.Run())
}

// lab runs the program in this process.
func lab(args ...string) (stdout, stderr string, status int) {
	var out, err bytes.Buffer
	status = run(args, &out, &err)
	return out.String(), err.String(), status
}

// refused checks a wrong call: it prints one line on standard error, and nothing on standard
// output.
func refused(t *testing.T, status int, message string, args ...string) {
	t.Helper()
	out, errs, got := lab(args...)
	require.Equal(t, status, got, errs)
	require.Empty(t, out)
	require.Equal(t, 1, strings.Count(errs, "\n"), errs)
	require.True(t, strings.HasPrefix(errs, "wakelab: "), errs)
	require.Contains(t, errs, message)
}

func allCommands() (all []*cobra.Command) {
	for _, c := range newRoot(&output{w: new(bytes.Buffer)}, new(bytes.Buffer)).Commands() {
		if !c.Hidden {
			all = append(all, c)
		}
	}
	return all
}

func TestHelp(t *testing.T) {
	t.Run("lists_each_command_and_the_exit_status", func(t *testing.T) {
		for _, args := range [][]string{{"help"}, {"--help"}, {"-h"}} {
			out, errs, status := lab(args...)
			require.Zero(t, status)
			require.Empty(t, errs)
			for _, c := range allCommands() {
				require.Regexp(t, `(?m)^  `+c.Name()+` +`, out)
			}
			require.Contains(t, out, "Exit status: 0 done")
			require.NotContains(t, out, "demo")
		}
		require.Len(t, allCommands(), 9)
	})
	t.Run("has_an_example_for_each_command", func(t *testing.T) {
		for _, c := range allCommands() {
			out, errs, status := lab(c.Name(), "--help")
			require.Zero(t, status)
			require.Empty(t, errs)
			if c.Name() != "help" && c.Name() != "completion" { // cobra's own
				require.Contains(t, out, "Examples:\n", c.Name())
			}
		}
	})
	t.Run("completes_the_names_of_examples", func(t *testing.T) {
		out, _, status := lab("completion", "bash")
		require.Zero(t, status)
		require.Contains(t, out, "wakelab")
		out, _, status = lab("__complete", "trace", "count")
		require.Zero(t, status)
		require.Contains(t, out, "countdown\n")
	})
}

func TestArguments(t *testing.T) {
	t.Run("suggest_the_nearest_name_for_an_unknown_one", func(t *testing.T) {
		for given, nearest := range map[string]string{
			"layuot": "layout", "Tour": "tour", "": "tour", "lay": "layout", "braek": "break",
		} {
			refused(t, statusUsage, `did you mean "`+nearest+`"?`, given)
		}
		refused(t, statusUsage, `no flag "--hlep"; did you mean "--help"?`, "--hlep")
		refused(t, statusUsage, `no flag "--lvie"; did you mean "--live"?`, "layout", "--lvie")
		refused(t, statusUsage, `no example "countdwon"; did you mean "countdown"?`, "trace", "countdwon")
		refused(t, statusUsage, `no misuse "go_never_waks"; did you mean "go_never_wakes"?`,
			"break", "go_never_waks")
	})
	t.Run("that_are_not_used_are_refused", func(t *testing.T) {
		refused(t, statusUsage, `layout: takes no arguments; there is "please"`, "layout", "please")
		refused(t, statusUsage, "which example?", "trace")
		refused(t, statusUsage, "either an example or --from", "trace", "countdown", "--from", "x")
		refused(t, statusUsage, "either --live or --abi", "layout", "--live", "--abi")
		refused(t, statusUsage, "countdown has no such size", "trace", "countdown", "--size", "3")
		refused(t, statusUsage, "has no such size", "trace", "storm", "--size=-3")
		refused(t, statusUsage, "which library?", "check")
		refused(t, statusUsage, "one at a time", "break", "a", "b")
		refused(t, statusUsage, "one at a time", "trace", "countdown", "timer")
		refused(t, statusUsage, "--html: which file?", "trace", "countdown", "--html", "")
		refused(t, statusUsage, "at least one wake", "trace", "storm", "--size", "0")
		refused(t, statusUsage, "a storm has up to 1000000", "trace", "storm", "--size", "1000001")
		refused(t, statusUsage, `no command "nonesuch". See`, "help", "nonesuch")
		refused(t, statusUsage, `no command "bahs"; did you mean "bash"?`, "completion", "bahs")
		refused(t, statusUsage, "missing closing ]", "bench", "--run", "[")
		refused(t, statusUsage, "--pairs 0: at least one", "bench", "--pairs", "0")
		refused(t, statusUsage, "invalid argument", "bench", "--pairs", "many")
	})
}

func TestOutput(t *testing.T) {
	t.Run("leaves_nothing_behind_if_a_file_cannot_be_written", func(t *testing.T) {
		dir := t.TempDir()
		nowhere := filepath.Join(dir, "none", "x")
		for _, flag := range []string{"--html", "--perfetto"} {
			refused(t, statusFailed, "no such file or directory", "trace", "simple", flag, nowhere)
			refused(t, statusFailed, "", "trace", "simple", flag, dir) // it is a folder
		}
		refused(t, statusFailed, nowhere+": no such file or directory",
			"trace", "simple", "--html", nowhere)
		// The temporary file for a folder's name would lie beside the folder.
		beside, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".wakelab*"))
		require.NoError(t, err)
		require.Empty(t, beside)
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)
		// An incomplete file is removed.
		require.Error(t, aside(filepath.Join(dir, "x"), func(w io.Writer) error {
			w.Write([]byte("half"))
			return errors.New("and then the disk was full")
		}))
		entries, err = os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	})
	t.Run("keeps_a_device_that_it_writes_to", func(t *testing.T) {
		dir := t.TempDir()
		target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
		require.NoError(t, os.WriteFile(target, []byte("old"), 0o644))
		if err := os.Symlink("target", link); err != nil {
			t.Skip(err)
		}
		hello := func(w io.Writer) error { _, err := io.WriteString(w, "new"); return err }
		require.NoError(t, aside(link, hello))
		info, err := os.Lstat(link)
		require.NoError(t, err)
		require.NotZero(t, info.Mode()&os.ModeSymlink)
		b, err := os.ReadFile(target)
		require.NoError(t, err)
		require.Equal(t, "new", string(b))
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Len(t, entries, 2)

		reader, writer, err := os.Pipe()
		require.NoError(t, err)
		place := fmt.Sprintf("/dev/fd/%d", writer.Fd())
		if _, err := os.Stat(place); err != nil {
			t.Skip(err)
		}
		require.NoError(t, aside(place, hello))
		require.NoError(t, writer.Close())
		b, err = io.ReadAll(reader)
		require.NoError(t, err)
		require.Equal(t, "new", string(b))
	})
	// A signal ends the example, and the folder of its trace is removed.
	t.Run("leaves_no_folder_behind_after_a_signal", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("it has no signals from other processes")
		}
		dir := t.TempDir()
		cmd := exec.Command(program(t), "trace", "storm", "--size", "1000000")
		cmd.Env = append(os.Environ(), "TMPDIR="+dir)
		require.NoError(t, cmd.Start())
		require.Eventually(t, func() bool {
			traces, _ := filepath.Glob(filepath.Join(dir, "wakelab*", "trace"))
			return len(traces) == 1
		}, time.Minute, time.Millisecond)
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.Error(t, cmd.Wait())
		entries, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, entries)
	})
	t.Run("reports_a_write_that_fails", func(t *testing.T) {
		var errs bytes.Buffer
		require.Equal(t, statusFailed, run([]string{"tour"}, full{}, &errs))
		require.Equal(t, "wakelab: tour: disk full\n", errs.String())
	})
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func fits(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		require.LessOrEqual(t, utf8.RuneCountInString(line), 100, line)
		require.Equal(t, strings.TrimRight(line, " \t"), line)
	}
}

// program builds wakelab as users have it.
func program(t *testing.T, flags ...string) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "wakelab.exe")
	args := append(append([]string{"build", "-o", exe}, flags...), ".")
	out, err := exec.Command("go", args...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return exe
}

// Each command of wakelab in the documentation exists.
func TestDocumentation(t *testing.T) {
	found := 0
	commands := regexp.MustCompile("(?m)(?:`|^    )wakelab ([a-z][^`#\n]*)")
	for _, file := range []string{
		"README.md", "docs/STUDY.md", "docs/TRACE.md", "docs/EMBEDDING.md", "docs/PROOF.md",
	} {
		b, err := os.ReadFile(filepath.Join("..", "..", file))
		require.NoError(t, err)
		text := strings.ReplaceAll(string(b), "go run ./cmd/wakelab", "wakelab")
		for _, m := range commands.FindAllStringSubmatch(text, -1) {
			args := strings.Fields(m[1])
			found++
			where := file + ": wakelab " + m[1]
			command, rest, err := newRoot(&output{w: new(bytes.Buffer)}, new(bytes.Buffer)).Find(args)
			require.NoError(t, err, where)
			require.NoError(t, command.ParseFlags(rest), where)
			if name := command.Flags().Arg(0); name == "" || name == strings.ToUpper(name) {
				continue
			} else if command.Name() == "trace" {
				_, err = findDemo(name)
			} else if command.Name() == "break" && (capi.HasCgo || strings.HasPrefix(name, "go_")) {
				_, err = find("misuse", name, faulty(), func(e broken.Entry) string { return e.Name })
			}
			require.NoError(t, err, where)
		}
		for _, m := range regexp.MustCompile(`(\d+) ways to break`).FindAllStringSubmatch(text, -1) {
			if capi.HasCgo {
				require.Equal(t, strconv.Itoa(len(faulty())), m[1], file)
			}
		}
	}
	require.Greater(t, found, 40)
}
