package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/seed-8a1b3254/ffiwaker"
	"github.com/seed-8a1b3254/ffiwaker/audit"
	"github.com/seed-8a1b3254/ffiwaker/internal/test/broken"
	"github.com/seed-8a1b3254/ffiwaker/wakertest"
)

func breakCommand(out *output) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:   "break [MISUSE]",
		Short: "a faulty waker, future or executor: the rule it breaks, and who tells",
		Long: `Runs one of the faulty things of internal/test/broken, each in a process of its own, and shows the line of the contract that it breaks and what the
tools print that find it: the conformance kit, the auditor, AddressSanitizer, ThreadSanitizer or Go's race detector. Those in C are compiled here, by
gcc. Without a name: the list.`,
		Example:   "  wakelab break\n  wakelab break wakes_then_drops\n  wakelab break go_never_wakes",
		ValidArgs: brokenNames(),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage("one at a time; there is %q, too", args[1])
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				listBroken(out)
				return nil
			}
			e, err := find("misuse", args[0], faulty(), func(e broken.Entry) string { return e.Name })
			if err != nil {
				return err
			}
			return showBroken(out, e, all)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "all that the tools print")
	c.AddCommand(&cobra.Command{
		Use: "child NAME", Hidden: true, Args: cobra.ExactArgs(1), // what a faulty one in Go runs in
		RunE: func(_ *cobra.Command, args []string) error {
			e, err := find("misuse", args[0], faulty(), func(e broken.Entry) string { return e.Name })
			if err != nil {
				return err
			}
			return holdToTheKit(e)
		},
	})
	return c
}

// faulty are all but the sound ones.
func faulty() (all []broken.Entry) {
	for _, e := range slices.Concat(broken.Entries(), broken.InGo()) {
		if !strings.HasPrefix(e.Name, "sound") {
			all = append(all, e)
		}
	}
	return all
}

func brokenNames() (names []string) {
	for _, e := range faulty() {
		names = append(names, e.Name)
	}
	return names
}

func listBroken(out io.Writer) {
	kind := ""
	for _, e := range faulty() {
		in := "C"
		if e.Go {
			in = "Go"
		}
		title := fmt.Sprintf("%ss in %s", e.Kind, in)
		if e.Kind == "user" {
			title = "users of a sound waker, in C"
		}
		if title != kind {
			if kind != "" {
				line(out, "")
			}
			kind = title
			line(out, "%s", title)
		}
		line(out, "  %-31s %s", e.Name, e.Does)
	}
}

func showBroken(out io.Writer, e broken.Entry, all bool) error {
	show := showBrokenC
	if e.Go {
		show = showBrokenGo
	}
	var tools bytes.Buffer
	if err := show(&tools, e, all); err != nil { // before anything is printed
		return err
	}
	line(out, "%s, a faulty %s: %s\n", e.Name, e.Kind, e.Does)
	showContract(out, e)
	_, err := out.Write(tools.Bytes())
	return err
}

// showContract prints the rules, and what rawwaker.h says of them.
func showContract(out io.Writer, e broken.Entry) {
	for _, r := range slices.Concat(wakertest.WakerRules(), wakertest.FutureRules(), wakertest.ExecutorRules()) {
		if r.Name == e.Kit {
			line(out, "The rule that the kit names, %s:\n    %s\n", r.Name, r.Rule)
		}
	}
	if e.Audit != "" {
		line(out, "The rule that the auditor names, %s:\n    %s\n", e.Audit, auditRule(e.Audit))
	}
	said := ""
	for _, rule := range []string{e.Audit, e.Kit} {
		number, text := contract(paragraph[rule])
		if text != "" && text != said {
			line(out, "The contract, rawwaker.h:%d\n%s", number, text)
		}
		said = text
	}
}

// auditRule is a rule of the auditor in its own words.
func auditRule(name string) string {
	source, err := audit.Sources.ReadFile("rawwaker_audit.c")
	if m := regexp.MustCompile(`find\("` + regexp.QuoteMeta(name) + `", "([^"]+)"`).FindSubmatch(source); err == nil && m != nil {
		return string(m[1])
	}
	return "see rawwaker_audit.h"
}

// paragraph is the word under which rawwaker.h's contract has the rule.
var paragraph = func() map[string]string {
	m := map[string]string{}
	for word, rules := range map[string]string{
		"Ownership": "clone_is_a_reference wake_consumes wake_by_ref_borrows drop_wakes_nobody references_balance context_is_borrowed drop_before_the_poll " +
			"drop_while_pending drop_after_ready out_only_when_ready close_drops_the_rest double_drop use_after_drop borrowed_consumed use_after_poll leak forgotten " +
			"future_double_drop result_too_large null_out double_return wake_after_the_end waker_outlives_its_task",
		"Threads": "storm unknown_thread polls_on_any_thread drop_beside_the_wake executor_storm slots_overlap",
		"Promises": "wake_before_the_poll wake_during_the_poll wake_after_the_poll pending_keeps_a_waker wakes_when_it_can_go_on latest_waker_is_woken polls_every_task " +
			"wake_inside_the_poll spawn_inside_a_poll set_before_wake pending_without_waker poll_after_ready no_such_code",
		"Wakes":   "wakes_coalesce wakes_publish unasked_poll poll_sees_what_wakes_publish",
		"Slots":   "drop_inside_wake clone_inside_wake slots_under_a_lock wakes_under_no_lock clones_under_no_lock wake_from_another_thread slot_under_lock",
		"Vtables": "complete_vtable clone_may_change_data will_wake complete_future_vtable empty_clone",
	} {
		for _, rule := range strings.Fields(rules) {
			m[rule] = word
		}
	}
	return m
}()

// contract is a paragraph of the head of rawwaker.h, and the line it begins on.
func contract(word string) (number int, text string) {
	header, err := ffiwaker.Sources.ReadFile("rawwaker.h")
	if err != nil || word == "" {
		return 0, ""
	}
	for i, l := range strings.Split(string(header), "\n") {
		body := strings.TrimPrefix(l, " *   ")
		switch {
		case number == 0 && strings.HasPrefix(body, word+" "):
			number, text = i+1, "    "+body+"\n"
		case number != 0 && strings.HasPrefix(body, "     "):
			text += "    " + body + "\n"
		case number != 0:
			return number, text
		}
	}
	return number, text
}

// ---- those in C

// workshop is a folder with the sources, and programs of them.
type workshop struct {
	ctx     context.Context
	dir, cc string
	close   func()
}

func openWorkshop() (*workshop, error) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		return nil, errors.New("no gcc on the PATH, and the faulty things in C are compiled here; those in Go need none")
	}
	ctx, dir, done, err := scratch(5 * time.Minute)
	if err != nil {
		return nil, err
	}
	w := &workshop{ctx, dir, cc, done}
	for to, from := range map[string]embed.FS{"root": ffiwaker.Sources, "audit": audit.Sources, "kit": wakertest.C, "broken": broken.Sources} {
		if err := os.CopyFS(filepath.Join(dir, to), from); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func (w *workshop) build(name string, flags ...string) (string, error) {
	ctx, cancel := context.WithTimeout(w.ctx, time.Minute)
	defer cancel()
	program := filepath.Join(w.dir, name)
	args := append([]string{"-std=gnu11", "-g", "-O1", "-w", "-rdynamic"}, flags...)
	args = append(args, "-Iroot", "-Iaudit", "-Ikit/c", "-Ibroken", "broken/run/main.c", "kit/c/rawwaker_test.c", "root/rawwaker.c", "audit/rawwaker_audit.c")
	files, err := fs.Glob(broken.Sources, "*.c")
	if err != nil {
		return "", err
	}
	for _, f := range files {
		args = append(args, "broken/"+f)
	}
	_, err = outputOf(ctx, w.dir, w.cc, append(args, "-pthread", "-o", program)...)
	return program, err
}

// try runs a program that may fail, crash or hang.
func (w *workshop) try(env []string, program string, args ...string) string {
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = w.dir
	cmd.WaitDelay = time.Second
	cmd.Env = append(append(os.Environ(), "RAWWAKER_TEST_SECONDS=0.5"), env...)
	text, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || !exit.Exited()) {
		text = fmt.Appendf(text, "\nthe process ended with: %v\n", err)
	}
	return string(text)
}

func showBrokenC(out io.Writer, e broken.Entry, all bool) error {
	w, err := openWorkshop()
	if err != nil {
		return err
	}
	defer w.close()
	plain, err := w.build("plain")
	if err != nil {
		return err
	}
	only := []string{"RAWWAKER_TEST_ONLY=" + e.Kit}
	if e.Kit != "" && !e.Detector {
		tell(out, "The conformance kit (wakertest/c) says", failing(w.try(nil, plain, "kit", e.Name), e.Kit), most(all, 8))
	}
	if e.Audit != "" {
		tell(out, "The auditor (rawwaker_audit) says", w.try(nil, plain, "audit", e.Name), most(all, 14))
	}
	if e.Kit != "" && !e.Detector {
		if program, err := w.build("asan", "-fsanitize=address", "-fno-omit-frame-pointer"); err == nil {
			said := from(w.try(append(only, "ASAN_OPTIONS=detect_leaks=0"), program, "kit", e.Name), "ERROR: AddressSanitizer")
			if said == "" {
				said = "nothing: no memory is used that is gone"
			}
			tell(out, "AddressSanitizer says", said, most(all, 10))
		}
	}
	if e.Detector {
		program, err := w.build("tsan", "-fsanitize=thread")
		if err != nil {
			return err
		}
		args := []string{program, "kit", e.Name}
		if setarch, err := exec.LookPath("setarch"); err == nil {
			args = append([]string{setarch, "-R"}, args...) // it wants its addresses where some kernels put others
		}
		said := from(w.try(only, args[0], args[1:]...), "WARNING: ThreadSanitizer")
		if said == "" {
			said = "nothing: it does not run here, or the threads did not meet. Try again."
		}
		tell(out, "ThreadSanitizer says, and nobody else can know", said, most(all, 16))
	}
	return nil
}

// failing is what TAP says of the scenarios that fail, the one of that name first.
func failing(tap, first string) string {
	var b, others strings.Builder
	to := &others
	inside := false
	for l := range strings.Lines(tap) {
		switch {
		case strings.HasPrefix(l, "not ok"):
			inside = true
			if to = &others; strings.HasSuffix(strings.TrimSpace(l), " - "+first) {
				to = &b
			}
		case strings.HasPrefix(l, "#") || strings.HasPrefix(l, "the process"):
		default:
			inside = false
		}
		if inside {
			to.WriteString(l)
		}
	}
	return b.String() + others.String()
}

// from is the text from the line on that has this in it.
func from(text, what string) string {
	i := strings.Index(text, what)
	if i < 0 {
		return ""
	}
	return text[strings.LastIndexByte(text[:i], '\n')+1:]
}

// tell prints the beginning of what a tool says. Its paths are those of a folder that is gone afterwards.
func tell(out io.Writer, who, said string, most int) {
	line(out, "%s:", who)
	lines := strings.Split(strings.TrimSpace(temporary.ReplaceAllString(said, "")), "\n")
	for i, l := range lines {
		if i == most {
			line(out, "    ... %d lines more: --all", len(lines)-most)
			break
		}
		line(out, "    %s", l)
	}
	line(out, "")
}

// most is how many lines are shown.
func most(all bool, few int) int {
	if all {
		return math.MaxInt
	}
	return few
}

var temporary = regexp.MustCompile(`/[^ ()]*/wakelab[0-9]+/`)

// ---- those in Go

func showBrokenGo(out io.Writer, e broken.Entry, all bool) error {
	ctx, stop := interruptible(2 * time.Minute)
	defer stop()
	if !e.Detector {
		text, err := self(ctx, nil, "break", "child", e.Name) // it fails, as it must
		_, said, ran := strings.Cut(string(text), "=== RUN   kit/"+e.Kit+"\n")
		if !ran {
			return fmt.Errorf("the kit did not get as far as %s: %w", e.Kit, err)
		}
		said, _, _ = strings.Cut(said, "\n=== RUN")
		tell(out, "The conformance kit (package wakertest) says", said, most(all, 6))
		return nil
	}
	dir, err := moduleDir(ctx)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "run", "-race", "./cmd/wakelab", "break", "child", e.Name)
	cmd.Dir = dir
	text, _ := cmd.CombinedOutput()
	said := from(string(text), "WARNING: DATA RACE")
	if said == "" {
		said = "nothing: " + string(text)
	}
	tell(out, "Go's race detector says, and nobody else can know", said, most(all, 16))
	return nil
}

// moduleDir is where this module's source is.
func moduleDir(ctx context.Context) (string, error) {
	const module = "github.com/seed-8a1b3254/ffiwaker"
	dir, err := outputOf(ctx, ".", "go", "list", "-m", "-f", "{{.Dir}}", module)
	if dir = strings.TrimSpace(dir); err != nil || dir == "" {
		if err == nil {
			err = errors.New("its source is not there")
		}
		return "", fmt.Errorf("this needs the go command, run inside %s or a module that requires it: %w", module, err)
	}
	return dir, nil
}
