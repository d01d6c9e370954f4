package main

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-8a1b3254/ffiwaker/internal/test/kitlib"
)

// kinds are what check can check of a library.
var kinds = []struct{ name, symbol, gives string }{
	{"waker", "rawwaker_check_waker", "rawwaker_test_waker"},
	{"future", "rawwaker_check_future", "rawwaker_test_future"},
	{"executor", "rawwaker_check_executor", "rawwaker_test_executor"},
}

func checkCommand(out *output) *cobra.Command {
	symbols := make([]string, len(kinds))
	c := &cobra.Command{
		Use:   "check LIBRARY",
		Short: "the conformance kit, run on your library",
		Long: `Loads a shared library in a process of its own, and checks that what its constructors make
keeps the contract: it runs the scenarios of wakertest/c, each by name. The library exports one or
more constructors, which return a new waker, future or executor each time, and functions to inspect
it. wakertest/c/rawwaker_test.h describes the structs:

    rawwaker_test_waker    rawwaker_check_waker(void *unused);
    rawwaker_test_future   rawwaker_check_future(void *unused);
    rawwaker_test_executor rawwaker_check_executor(void *unused);

For other names use --waker, --future and --executor. The output is TAP. Exit status 0: all
scenarios passed; 3: one failed, crashed or hung; 1: the library could not be checked, or crashed
when it was loaded.`,
		Example: `  gcc -shared -fPIC -Iffiwaker -Iffiwaker/wakertest/c -o libmine.so \
    mine.c ffiwaker/rawwaker.c
  wakelab check ./libmine.so
  wakelab check ./libmine.so --waker my_constructor`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("one at a time; there is %q, too", args[1])
			} else if len(args) == 0 {
				return usage("which library? See: wakelab check --help")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			given := false
			for _, k := range kinds {
				given = given || c.Flags().Changed(k.name)
			}
			return check(out, args[0], symbols, given)
		},
	}
	for i, k := range kinds {
		c.Flags().StringVar(&symbols[i], k.name, k.symbol,
			"the `SYMBOL` of the constructor of a "+k.gives)
	}
	c.AddCommand(&cobra.Command{
		Use: "child KIND LIBRARY SYMBOL", Hidden: true, Args: cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			failed, err := kitlib.Run(args[0], args[1], args[2])
			if err == nil && failed > 0 {
				os.Exit(statusBroken)
			}
			return err
		},
	})
	return c
}

func check(out io.Writer, library string, symbols []string, given bool) error {
	if !kitlib.HasCgo {
		return errors.New(noCgo)
	}
	path, err := filepath.Abs(library)
	if err != nil {
		return err
	}
	if info, err := os.Stat(path); err != nil {
		return err
	} else if info.IsDir() {
		return fmt.Errorf("%s is a folder, not a library", library)
	}
	exports, err := exported(path)
	if err != nil {
		return fmt.Errorf("%s is not a library that this system loads: %w", library, err)
	}
	broken, ran := 0, 0
	for i, k := range kinds {
		there := slices.Contains(exports, symbols[i]) || exports == nil
		if !there {
			if given && symbols[i] != k.symbol {
				return usage("%s exports no function %s%s", library, symbols[i],
					suggest("; did you mean %q?", nearest(symbols[i], exports)))
			}
			continue
		}
		ran++
		failed, err := checkKind(out, k.name, path, symbols[i])
		if err != nil {
			return fmt.Errorf("%s, %s: %w", library, symbols[i], err)
		}
		if failed {
			broken++
		}
	}
	if ran == 0 {
		return fmt.Errorf("%s exports none of %s, %s, %s: see wakelab check --help",
			library, symbols[0], symbols[1], symbols[2])
	}
	if broken > 0 {
		return failure{statusBroken, fmt.Errorf("%s breaks the contract", library)}
	}
	return nil
}

// exported returns the names of a library's functions; nil: unknown on this system.
func exported(path string) ([]string, error) {
	if runtime.GOOS != "linux" {
		return nil, nil
	}
	f, err := elf.Open(path)
	if err != nil {
		return nil, firstError(err)
	}
	defer f.Close()
	if f.Type != elf.ET_DYN {
		return nil, errors.New("it is a program or an object file")
	}
	all, err := f.DynamicSymbols()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return nil, err
	}
	names := []string{}
	for _, s := range all {
		switch elf.ST_TYPE(s.Info) {
		case elf.STT_FUNC, elf.STT_GNU_IFUNC:
			if s.Section != elf.SHN_UNDEF {
				names = append(names, s.Name)
			}
		}
	}
	return names, nil
}

func firstError(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("it is too short")
	}
	return errors.New(firstLine(err.Error()))
}

var (
	notOK   = regexp.MustCompile(`(?m)^not ok `)
	tapLine = regexp.MustCompile(`(?m)^(not )?ok `)
	tapPlan = regexp.MustCompile(`(?m)^1\.\.(\d+)$`)
)

// checkKind runs the kit in a process of its own, because the library may crash or hang.
func checkKind(out io.Writer, kind, path, symbol string) (failed bool, err error) {
	ctx, cancel := interruptible(30 * time.Minute)
	defer cancel()
	exe, err := executable()
	if err != nil {
		return false, err
	}
	cmd := exec.CommandContext(ctx, exe, "check", "child", kind, path, symbol)
	cmd.Env = append(os.Environ(), asLab)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return false, err
	}
	if err := cmd.Start(); err != nil {
		return false, err
	}
	var tap strings.Builder
	if _, err := io.Copy(io.MultiWriter(out, &tap), pipe); err != nil {
		cancel()
		cmd.Wait()
		return false, err
	}
	err = cmd.Wait()
	failed = notOK.MatchString(tap.String())
	switch {
	case failed: // the kit reports a scenario that has ended the process itself
		return true, nil
	case err != nil:
		first := strings.TrimPrefix(firstLine(stderr.String()), "wakelab: child: ")
		exit, ok := errors.AsType[*exec.ExitError](err)
		if ok && exit.ExitCode() == statusFailed && first != "" {
			return false, errors.New(first)
		}
		return false, fmt.Errorf("it has ended the process: %w: %s", err, first)
	}
	plan := tapPlan.FindStringSubmatch(tap.String())
	ran := len(tapLine.FindAllString(tap.String(), -1))
	if plan == nil || plan[1] != strconv.Itoa(ran) || ran == 0 {
		return false, fmt.Errorf("it has ended the process, after %d scenarios", ran)
	}
	return false, nil
}
